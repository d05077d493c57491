"""Every mode of PIL becomes RGB of 8 bits with known values; what has no known range is refused."""

import dataclasses
import io
import struct
import warnings
import zlib

import numpy as np
import pytest
import torch
from made_images import folders
from PIL import Image

from dynvit.config.data import Augment, Data
from dynvit.data.decode import UnreadableImage, decode_image, to_rgb
from dynvit.data.factory import load_data
from dynvit.data.inspect import inspect_data

KNOWN = [  # mode, the color of all pixels, RGB
    ("1", 1, (255, 255, 255)),
    ("L", 77, (77, 77, 77)),
    ("LA", (77, 10), (77, 77, 77)),
    ("La", (100, 128), (199, 199, 199)),
    ("I", 30000, (117, 117, 117)),
    ("I;16", 0, (0, 0, 0)),
    ("I;16", 257, (1, 1, 1)),
    ("I;16", 30000, (117, 117, 117)),
    ("I;16", 65535, (255, 255, 255)),
    ("I;16B", 30000, (117, 117, 117)),
    ("I;16L", 30000, (117, 117, 117)),
    ("I;16N", 30000, (117, 117, 117)),
    ("F", 0.25, (64, 64, 64)),
    ("RGB", (1, 2, 3), (1, 2, 3)),
    ("RGBA", (1, 2, 3, 4), (1, 2, 3)),
    ("RGBa", (100, 50, 25, 128), (199, 99, 49)),
    ("RGBX", (1, 2, 3, 4), (1, 2, 3)),
    ("CMYK", (0, 255, 255, 0), (255, 0, 0)),
    ("CMYK", (0, 0, 0, 255), (0, 0, 0)),
    ("YCbCr", (76, 85, 255), (254, 0, 0)),
    ("LAB", (128, 128, 128), (119, 119, 119)),
    ("HSV", (0, 255, 255), (255, 0, 0)),
]


@pytest.mark.parametrize(("mode", "color", "rgb"), KNOWN)
def test_every_mode_has_its_known_values(mode, color, rgb):
    image = to_rgb(Image.new(mode, (3, 2), color))
    assert (image.mode, image.size) == ("RGB", (3, 2))
    assert {tuple(pixel) for row in np.asarray(image).tolist() for pixel in row} == {rgb}


def test_no_mode_of_pil_is_without_a_test():
    covered = {mode for mode, *_ in KNOWN} | {"P", "PA"}
    assert set(Image.MODES) <= covered  # a new one must be looked at


@pytest.mark.parametrize("transparency", [None, 1, bytes([0, 128])])
def test_palettes(transparency):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putdata([0, 1])
    out = io.BytesIO()
    image.save(out, "png", **({} if transparency is None else {"transparency": transparency}))
    assert np.asarray(decode_image(out.getvalue())).tolist() == [[[10, 20, 30], [40, 50, 60]]]
    assert np.asarray(to_rgb(image.convert("PA"))).tolist() == [[[10, 20, 30], [40, 50, 60]]]


def png(bits, color_type, rows):
    """A png of these rows, written by hand: PIL cannot write all that it reads."""
    width = {0: 1, 2: 3, 4: 2, 6: 4}[color_type] * bits // 8

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", len(rows[0]) // width, len(rows), bits, color_type, 0, 0, 0)
    content = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", content) + chunk(b"IEND", b"")


FILES = {  # files as other programs write them: content, gray or RGB of the first pixels
    "png of 16 bits": (png(16, 0, [struct.pack(">HHH", 0, 30000, 65535)]), [0, 117, 255]),
    "png of 16 bits with transparency": (png(16, 4, [struct.pack(">HH", 0x8000, 7)]), [128]),
    "rgb png of 16 bits": (png(16, 2, [struct.pack(">HHH", 0x0100, 0x8000, 0xFFFF)]), [[1, 128, 255]]),
    "pgm of 16 bits": (b"P5 3 1 65535\n" + struct.pack(">HHH", 0, 30000, 65535), [0, 117, 255]),
    "pgm of 12 bits": (b"P5 2 1 4095\n" + struct.pack(">HH", 0, 4095), [0, 255]),
    "pgm of 8 bits": (b"P5 2 1 255\n" + bytes([9, 200]), [9, 200]),
}


@pytest.mark.parametrize("name", FILES)
def test_files_of_other_programs(name):
    content, expected = FILES[name]
    found = np.asarray(decode_image(content))[0].tolist()
    assert found == [value if isinstance(value, list) else [value] * 3 for value in expected]


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I", "F"])
def test_tiff_of_more_than_8_bits(mode):
    pixels = {"F": np.float32([[0, 0.5, 1]]), "I": np.int32([[0, 30000, 65535]])}
    array = pixels.get(mode, np.array([[0, 30000, 65535]], ">u2" if mode == "I;16B" else "<u2"))
    out = io.BytesIO()
    Image.fromarray(array).save(out, "tiff")
    middle = 128 if mode == "F" else 117
    assert np.asarray(decode_image(out.getvalue()))[0, :, 0].tolist() == [0, middle, 255]


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (np.float32([[0, 255]]), "values are 0 to 255, and mode F is used with values of 0 to 1"),
        (np.float32([[-0.1, 1]]), "values are -0.1 to 1"),
        (np.float32([[0, np.nan]]), "values are nan to nan"),
        (np.float32([[0, np.inf]]), "values are 0 to inf"),
        (np.int32([[0, 65536]]), "values are 0 to 65536, and mode I is used with values of 0 to 65535"),
        (np.int32([[-1, 5]]), "values are -1 to 5"),
    ],
)
def test_an_unknown_range_is_refused_with_the_name_of_the_file(tmp_path, monkeypatch, pixels, reason):
    monkeypatch.setenv("DYNVIT_WORKERS", "0")
    Image.fromarray(pixels).save(folders(tmp_path) / "train" / "bee" / "odd.tif")
    for in_memory in ("always", "never"):
        data = Data(name="folder", root=str(tmp_path), image_size=8, in_memory=in_memory)
        with pytest.raises(ValueError, match=rf"train/bee/odd\.tif cannot be read as an image: its {reason}"):
            list(load_data(data, 25, 5, 0, "cpu").train(0))


@pytest.mark.parametrize("in_memory", ["always", "never"])
def test_classes_told_apart_by_the_brightness_of_16_bits(tmp_path, monkeypatch, in_memory):
    monkeypatch.setenv("DYNVIT_WORKERS", "0")
    for split, count in (("train", 6), ("val", 3)):
        for label, value in enumerate((1000, 30000, 60000)):
            for i in range(count):
                file = tmp_path / split / f"class{label}" / f"{i}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.full((9, 9), value + i, np.uint16)).save(file)
    data = Data(name="folder", root=str(tmp_path), image_size=8, in_memory=in_memory, augment=Augment(scale=(1.0, 1.0)))
    x_BCSS, labels_B = next(load_data(data, 18, 9, 0, "cpu").train(0))
    found = ((x_BCSS * torch.tensor([0.229, 0.224, 0.225])[:, None, None] + 0.456) * 255)[:, 1].mean((1, 2))
    for label, value in enumerate((4, 117, 233)):
        assert (found[labels_B == label] - value).abs().max() < 2


def test_whatever_a_decoder_raises_is_a_reason(monkeypatch):
    good = io.BytesIO()
    Image.new("RGB", (40, 40)).save(good, "png")
    for content in (b"", b"text", good.getvalue()[:60], b"\x89PNG\r\n\x1a\n" + bytes(40), b"II*\0\xff\xff\xff\xff"):
        with pytest.raises(UnreadableImage):
            decode_image(content)
    for error in (IndexError("list"), KeyError(3), AssertionError(), ZeroDivisionError("by"), RecursionError("deep")):
        monkeypatch.setattr(Image, "open", lambda *_, error=error: (_ for _ in ()).throw(error))
        with pytest.raises(UnreadableImage, match=str(error) or "AssertionError"):
            decode_image(good.getvalue())


@pytest.mark.parametrize("in_memory", ["always", "never"])
def test_a_decompression_bomb_is_an_unreadable_image(tmp_path, monkeypatch, in_memory):
    monkeypatch.setenv("DYNVIT_WORKERS", "0")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    file = folders(tmp_path) / "train" / "bee" / "bomb.png"
    Image.new("L", (300, 300)).save(file)
    data = Data(name="folder", root=str(tmp_path), image_size=8, in_memory=in_memory)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with pytest.raises(ValueError, match=r"bomb\.png cannot be read as an image: .*decompression bomb"):
            list(load_data(data, 25, 5, 0, "cpu").train(0))

        batches = load_data(dataclasses.replace(data, max_corrupt=1), 24, 5, 0, "cpu")
        assert len(next(batches.train(0))[1]) == 24
        list(batches.train(0))
        assert list(batches.corrupt.found) == [str(file)]


def test_doctor_notes_scaled_values_and_further_frames(tmp_path):
    folders(tmp_path)
    frames = [Image.new("L", (9, 9), shade) for shade in (10, 20)]
    frames[0].save(tmp_path / "train" / "bee" / "moving.gif", save_all=True, append_images=frames[1:])
    Image.new("I;16", (9, 9), 30000).save(tmp_path / "train" / "bee" / "deep.png")
    noted = [
        text
        for level, text, _ in inspect_data(Data(name="folder", root=str(tmp_path), image_size=8), 4)
        if level == "note"
    ]
    assert noted == [
        "train/: 1 sampled images have mode I;16, 0 to 65535 becomes 0 to 255",
        f"train/: of 1 sampled images the first of several frames is used ({tmp_path}/train/bee/moving.gif)",
    ]


@pytest.mark.parametrize(("largest", "level"), [(255, "attention"), (4095, "attention"), (60000, "note")])
def test_doctor_sees_8_or_12_bits_in_16(tmp_path, largest, level):
    folders(tmp_path)
    Image.new("I;16", (9, 9), largest).save(tmp_path / "train" / "bee" / "deep.png")
    found = list(inspect_data(Data(name="folder", root=str(tmp_path), image_size=8), 4))
    ((said, text),) = [(said, text) for said, text, _ in found if "mode I;16" in text]
    assert said == level and ("the brightest is" in text) == (level == "attention")


def test_doctor_sees_images_that_are_all_transparency(tmp_path):
    folders(tmp_path)
    shape = Image.new("L", (9, 9))
    shape.putpixel((4, 4), 255)
    drawn = Image.new("RGB", (9, 9), "black")
    drawn.putalpha(shape)
    drawn.save(tmp_path / "train" / "bee" / "icon.png")
    Image.new("RGBA", (9, 9), (10, 20, 30, 255)).save(tmp_path / "train" / "bee" / "opaque.png")
    found = list(inspect_data(Data(name="folder", root=str(tmp_path), image_size=8), 4))
    (text,) = [text for level, text, _ in found if level == "attention"]
    assert "1 sampled images are of one color" in text and text.endswith("bee/icon.png)")
