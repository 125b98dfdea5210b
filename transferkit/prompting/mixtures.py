"""An alignment told in tokens: W's rows and the offsets as mixtures of a decoder's token embeddings.

Any other decoder that has these tokens mixes its own embeddings of them. So what a checkpoint learned is carried over
without the decoder that it learned it for.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from transferkit.decoder.decoder import Decoder
from transferkit.prompting.alignment import ridge_inverse
from transferkit.prompting.anchors import shared_tokens
from transferkit.prompting.llm import PromptingLLM

MOST_TOKENS = 4096  # of the lowest ids, which are the commonest; more make a checkpoint larger and hardly truer
TOKENS = "tokens"
FEWEST_TOKENS = 32  # that two vocabularies share; fewer say nothing of a space


class TokenMixer:
    """Tells vectors of a decoder's embedding space as mixtures of the tokens that the Prompting LLM has too.

    The mixtures are those of least squares with a small ridge. What of a vector no token embedding points to is lost;
    another decoder could not tell what it means.

    Args:
        prompting: whose vocabulary names the tokens.
        decoder: whose embeddings are mixed.
    """

    def __init__(self, prompting: PromptingLLM, decoder: Decoder) -> None:
        named, own = shared_ids(prompting, decoder)
        self.tokens = torch.tensor(named[:MOST_TOKENS])
        self._solution: Tensor | None = None
        if len(named) >= FEWEST_TOKENS:
            self._solution = ridge_inverse(decoder.token_table(own[:MOST_TOKENS]).float())

    def tell(self, vectors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Vectors (m, d) by name -> shares (m, n) by the same name, and ``tokens`` (n), their ids in the Prompting LLM.

        Nothing where the vocabularies share fewer than :data:`FEWEST_TOKENS`.
        """
        if self._solution is None:
            return {}
        solution = self._solution
        return {name: (each.detach().cpu().double() @ solution).float() for name, each in vectors.items()} | {
            TOKENS: self.tokens
        }


def mix(shares: Mapping[str, Tensor], prompting: PromptingLLM, decoder: Decoder) -> tuple[dict[str, Tensor], int]:
    """What :meth:`TokenMixer.tell` told, in the embedding space of ``decoder``: vectors (m, d_e) by name.

    Also of how many of the tokens; shares of those that the decoder lacks are left out.
    """
    named, own = shared_ids(prompting, decoder)
    column_of = {token: column for column, token in enumerate(shares[TOKENS].tolist())}
    found = [(column_of[i], j) for i, j in zip(named, own, strict=True) if i in column_of]
    columns = [column for column, _ in found]
    table = decoder.token_table([token for _, token in found]).float()
    vectors = {name: each[:, columns].to(table.device) @ table for name, each in shares.items() if name != TOKENS}
    return vectors, len(found)


def shared_ids(prompting: PromptingLLM, decoder: Decoder) -> tuple[list[int], list[int]]:
    """Ids of the tokens that both have, pair by pair, ordered by the Prompting LLM's."""
    rows = prompting.encoder.num_rows, decoder.encoder.num_rows
    return shared_tokens(prompting.encoder.tokenizer, decoder.encoder.tokenizer, rows=rows)
