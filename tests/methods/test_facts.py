"""What the facts of a method promise, its class has; so plans may believe them before anything is loaded."""

import pytest

from transferkit.config.methods import MethodFacts, all_methods
from transferkit.methods.base import Embedder
from transferkit.methods.registry import method_class

EVERY = pytest.mark.parametrize("facts", all_methods().values(), ids=lambda facts: facts.name)


@EVERY
def test_rereads_says_whether_there_is_a_reread(facts: MethodFacts) -> None:
    assert facts.rereads == (method_class(facts).reread is not Embedder.reread)
    assert facts.has_backbone or not facts.rereads  # what a checkpoint says of its backbone is what is read anew


@EVERY
def test_alone_says_whether_something_is_left_without_the_decoder(facts: MethodFacts) -> None:
    assert (facts.alone is not None) == (method_class(facts).without_backbone is not Embedder.without_backbone)


@EVERY
def test_methods_that_share_a_kind_are_read_alike(facts: MethodFacts) -> None:
    for other in all_methods().values():
        if facts.kind is not None and other.kind == facts.kind:
            assert (other.rereads, other.alone) == (facts.rereads, facts.alone)
            assert other.soft_tokens == facts.soft_tokens
