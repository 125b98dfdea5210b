"""stopgap"""

from transferkit.config.specs import *  # noqa: F403
from transferkit.config.specs import available_poolings, reads_soft
from transferkit.config.template import Template


def check_soft_place(template: str, pooling: str, *, needs_soft: bool) -> None:
    """Stopgap."""
    parsed = Template.parse(template)
    if needs_soft and not parsed.has_soft:
        raise ValueError(
            f"template {template!r} has no {{soft}}, so the soft tokens have no place; write for example '{{text}}{{soft}}'"
        )
    if reads_soft(pooling) and not parsed.soft_sees_text:
        raise ValueError(
            f"pooling {pooling!r} reads positions that stand before the text in template {template!r} and "
            f"never see it; use {', '.join(available_poolings(template))}, or put {{soft}} after {{text}}"
        )
