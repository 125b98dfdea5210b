"""One Prompting LLM trained through several backbones in turn, so that its soft tokens suit no single one of them."""

from collections.abc import Sequence

from torch import Tensor, nn

from transferkit.methods.embedder import Group, PromptEmbedder


class SeveralBackbones(PromptEmbedder):
    """Steps take turns; each backbone has an alignment of its own.

    The first one stands for all where one is asked for: it is what evaluations read and what a checkpoint holds.

    Args:
        first: with the Prompting LLM that all share.
        others: on further backbones, of any width.
    """

    def __init__(self, first: PromptEmbedder, others: Sequence[PromptEmbedder]) -> None:
        super().__init__(first.writer, first.alignment, first.backbone, pooling=first.pooling, readout=first.readout)
        self.others = nn.ModuleList(others)
        self.turn = 0

    def begin_step(self, step: int) -> None:
        """The backbone of this step."""
        self.turn = step % (1 + len(self.others))

    def embed(self, texts: Sequence[str], instructions: Sequence[str]) -> Tensor:
        """Pooled vectors (B, d) of the backbone whose turn it is; outside of training the first one's."""
        if not self.training or self.turn == 0:
            return super().embed(texts, instructions)
        other = self.others[self.turn - 1]
        assert isinstance(other, PromptEmbedder)
        vectors = other.embed(texts, instructions)
        self.tokens_read += other.take_tokens()
        return vectors

    def trainable(self) -> dict[Group, list[nn.Parameter]]:
        """The Prompting LLM once, and every alignment."""
        groups = super().trainable()
        for other in self.others:
            assert isinstance(other, PromptEmbedder)
            for name, parameters in other.trainable().items():
                if name != "model":
                    groups[name] = groups[name] + parameters
        return groups
