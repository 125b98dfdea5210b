"""One message of a library that helps nobody."""

import logging

_KERNELS = "bitsandbytes.backends.cpu.ops"  # the logger of what bitsandbytes says of its kernels when it is imported


def drop_kernel_message() -> None:
    """Drop what bitsandbytes says of a missing kernel of 4-bit layers, which are computed without it.

    peft and sentence-transformers import bitsandbytes where nothing has four bits, too.
    """
    logging.getLogger(_KERNELS).addFilter(_is_not_of_a_missing_kernel)


def _is_not_of_a_missing_kernel(record: logging.LogRecord) -> bool:
    return not record.msg.startswith("Failed to load CPU gemm_4bit_forward")
