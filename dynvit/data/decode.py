"""Encoded images to RGB of 8 bits per channel, whatever PIL's mode: a known range is scaled, an unknown one refused."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import nullcontext, suppress
from typing import Any, NamedTuple

import numpy as np

READ_ERRORS = (OSError, ValueError)
"""What reading and decoding an image raises: `UnreadableImage` is a ValueError."""
RANGES = {"I;16": 65535, "I;16B": 65535, "I;16L": 65535, "I;16N": 65535, "I": 65535, "F": 1}
"""Largest value by mode, which becomes 255. PIL opens some 16-bit files (PGM) with 32 bits, so I is 0 to 65535 too."""
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""PIL's formats of the endings that are read; JPEG includes MPO. Some of the others run a program: EPS Ghostscript."""
VIA = {"La": "LA", "RGBa": "RGBA"}
"""Modes with premultiplied transparency, and those that hold the colors before it."""
BITS, PHOTOMETRIC, SAMPLE_FORMAT, EXIF_ORIENTATION = 258, 262, 339, 274
"""Tags of TIFF, and of EXIF."""
WHITE_IS_ZERO, SIGNED = 0, 2
"""Values of PHOTOMETRIC and of SAMPLE_FORMAT."""


class UnreadableImage(ValueError):
    """The reason why bytes are no usable image, without the name."""


def decode_image(content: Any, channels: int = 3) -> Any:
    """Decode to a PIL image in RGB, or gray with one channel, of several frames the first. content: the encoded image,
    or an image of PIL. Raises UnreadableImage for whatever PIL raises."""
    return _decoded(content, lambda opened, rgb: rgb if channels == 3 else rgb.convert("L"))


class Facts(NamedTuple):
    """What is known of a file's image beside its pixels in RGB."""

    mode: str
    animated: bool
    """There are more frames than the first."""
    blank: bool
    """All it shows is in its transparency: without that it has one color."""
    largest: int
    """The value that became 255, of a mode in RANGES; of any other 255."""
    turned: bool
    """EXIF says that it is to be shown turned or mirrored. TIFF is not: PIL turns it where it reads the pixels."""


def decode_with_facts(content: Any) -> tuple[Any, Facts]:
    """Decode to a PIL image in RGB; return it with what is known of the file's image."""
    return _decoded(content, lambda opened, rgb: (rgb, _facts(opened, rgb)))


def _facts(opened: Any, rgb: Any) -> Facts:
    largest = largest_value(opened) if opened.mode in RANGES else 255
    return Facts(opened.mode, _animated(opened), _blank(opened, rgb), largest, _turned(opened))


def _blank(opened: Any, rgb: Any) -> bool:
    if not opened.has_transparency_data or any(least < most for least, most in rgb.getextrema()):
        return False
    least, most = opened.convert(VIA.get(opened.mode, opened.mode)).convert("RGBA").getextrema()[3]
    return bool(least < most)


def _animated(opened: Any) -> bool:
    try:
        return bool(getattr(opened, "is_animated", False))
    except Exception:  # the second frame is damaged, the first is what is used
        return False


def _turned(opened: Any) -> bool:
    try:
        return opened.getexif().get(EXIF_ORIENTATION, 1) in range(2, 9)
    except Exception:  # damaged EXIF, which the pixels do without
        return False


def _decoded(content: Any, answer: Callable[[Any, Any], Any]) -> Any:
    from PIL import Image

    try:
        with nullcontext(content) if isinstance(content, Image.Image) else _opened(content) as opened:
            return answer(opened, to_rgb(opened))
    except UnreadableImage:
        raise
    except Exception as error:  # decoders raise anything: IndexError, struct.error, DecompressionBombError
        raise UnreadableImage(_reason(error)) from error


def _opened(content: bytes) -> Any:
    from PIL import Image, UnidentifiedImageError

    try:
        return Image.open(io.BytesIO(content), formats=FORMATS)
    except UnidentifiedImageError:
        if other := _other_format(content[:16]):
            text = f"it is in the format {other}, and formats that are read are {', '.join(FORMATS)}: convert it"
            raise UnreadableImage(text) from None
        raise


def _other_format(prefix: bytes) -> str:
    """Return the format that an image's first bytes are of, by PIL's own tests, if it is none of FORMATS."""
    from PIL import Image

    Image.init()
    for name, (_, accept) in Image.OPEN.items():
        with suppress(Exception):  # of bytes that are fewer than it looks at
            if accept and accept(prefix) is True:
                return "" if name in FORMATS else name
    return ""


def to_rgb(image: Any) -> Any:
    """Convert a PIL image of any mode to RGB; transparency is dropped. Raises UnreadableImage outside a known range."""
    from PIL import Image

    tags = getattr(image, "tag_v2", {})  # of TIFF
    if tags.get(SAMPLE_FORMAT, (1,))[0] == SIGNED and (bits := tags.get(BITS, (1,))[0]) < 32:  # PIL writes I signed
        raise UnreadableImage(f"it is a TIFF of signed values of {bits} bits, of no known range: save it unsigned")
    if image.mode not in RANGES:
        return (image.convert(VIA[image.mode]) if image.mode in VIA else image).convert("RGB")
    values, largest = np.asarray(image).astype(np.float64), largest_value(image)
    if not (values.min() >= 0 and values.max() <= largest):  # also for NaN
        found = f"{values.min():g} to {values.max():g}"
        raise UnreadableImage(f"its values are {found}, and mode {image.mode} is used with values of 0 to {largest}")
    if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:  # PIL inverts 8 bits only
        values = largest - values
    return Image.fromarray((values * (255 / largest)).round().astype(np.uint8)).convert("RGB")


def largest_value(image: Any) -> int:
    """Return the value of an image of a mode in RANGES that becomes 255. A TIFF of 12 bits has the mode of 16. A PGM's
    values PIL scales to 16 bits itself; how many bits of a PNG's 16 are used (its sBIT) it does not tell."""
    bits = getattr(image, "tag_v2", {}).get(BITS, (16,))[0]
    return int(2**bits - 1) if 8 < bits < 16 else RANGES[image.mode]


def _reason(error: Exception) -> str:
    """Return the decoder's reason; PIL names bytes of an unknown format by their address only."""
    text = str(error) or type(error).__name__
    return "no image format that PIL knows" if "<_io." in text else text
