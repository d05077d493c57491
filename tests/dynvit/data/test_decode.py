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
from dynvit.data.decode import UnreadableImage, decode_image, decode_with_facts, to_rgb
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


def tiff(bits, values):
    """A row of gray values in `bits` each, packed, as microscopes and cameras write them: PIL cannot write it."""
    text = "".join(format(value, f"0{bits}b") for value in values)
    pixels = int(text + "0" * (-len(text) % 8), 2).to_bytes(-(-len(text) // 8), "big")
    tags = {256: len(values), 257: 1, 258: bits, 259: 1, 262: 1, 273: 8, 277: 1, 278: 1, 279: len(pixels)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return struct.pack("<2sHI", b"II", 42, 8 + len(pixels)) + pixels + struct.pack("<H", len(tags)) + entries + bytes(4)


FILES = {  # files as other programs write them: content, gray or RGB of the first pixels
    "png of 16 bits": (png(16, 0, [struct.pack(">HHH", 0, 30000, 65535)]), [0, 117, 255]),
    "png of 16 bits with transparency": (png(16, 4, [struct.pack(">HH", 0x8000, 7)]), [128]),
    "rgb png of 16 bits": (png(16, 2, [struct.pack(">HHH", 0x0100, 0x8000, 0xFFFF)]), [[1, 128, 255]]),
    "pgm of 16 bits": (b"P5 3 1 65535\n" + struct.pack(">HHH", 0, 30000, 65535), [0, 117, 255]),
    "pgm of 12 bits": (b"P5 2 1 4095\n" + struct.pack(">HH", 0, 4095), [0, 255]),
    "pgm of 10 bits": (b"P5 2 1 1023\n" + struct.pack(">HH", 512, 1023), [128, 255]),
    "tiff of 12 bits": (tiff(12, [0, 1024, 2048, 4095]), [0, 64, 128, 255]),
    "tiff of 16 bits": (tiff(16, [0x1010, 0xFFFF]), [16, 255]),
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


def tiff(pixels, photometric=1, sample_format=1):
    """A tiff of one strip with these tags, written by hand: PIL writes a few kinds only."""
    (height, width), content = pixels.shape, pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    tags = {256: width, 257: height, 258: 8 * pixels.itemsize, 259: 1, 262: photometric, 273: 8, 277: 1, 278: height,
            279: len(content), 339: sample_format}  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<I", 8 + len(content)) + content + struct.pack("<H", len(tags)) + entries + bytes(4)


@pytest.mark.parametrize(
    ("pixels", "sample_format", "expected"),
    [
        (np.uint8([[0, 100, 255]]), 1, [0, 100, 255]),
        (np.uint16([[0, 257, 65535]]), 1, [0, 1, 255]),
        (np.float32([[0, 0.25, 1]]), 3, [0, 64, 255]),
    ],
)
def test_tiff_whose_zero_is_white_is_inverted(pixels, sample_format, expected):
    plain = np.asarray(decode_image(tiff(pixels, 1, sample_format)))[0, :, 0]
    inverted = np.asarray(decode_image(tiff(pixels, 0, sample_format)))[0, :, 0]
    assert plain.tolist() == expected
    assert np.abs(inverted.astype(int) - (255 - plain.astype(int))).max() <= 1  # rounded after it is inverted
    assert (inverted[0], inverted[-1]) == (255, 0)


@pytest.mark.parametrize("pixels", [np.int16([[0, 5, 32767]]), np.int16([[-3, 5, 9]]), np.int8([[-1, 0, 100]])])
def test_signed_tiff_is_refused_by_name(tmp_path, monkeypatch, pixels):
    monkeypatch.setenv("DYNVIT_WORKERS", "0")
    (folders(tmp_path) / "train" / "bee" / "signed.tif").write_bytes(tiff(pixels, sample_format=2))
    for in_memory in ("always", "never"):
        data = Data(name="folder", root=str(tmp_path), image_size=8, in_memory=in_memory)
        reason = rf"it is a TIFF of signed values of {8 * pixels.itemsize} bits, of no known range: save it unsigned"
        with pytest.raises(ValueError, match=rf"bee/signed\.tif cannot be read as an image: {reason}"):
            list(load_data(data, 25, 5, 0, "cpu").train(0))


@pytest.mark.parametrize(
    ("start", "name"),
    [
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "EPS"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG2000"),
        (b"8BPS\0\1", "PSD"),
    ],
)
def test_other_formats_are_refused_by_name_whatever_the_ending(tmp_path, start, name):
    file = folders(tmp_path) / "train" / "bee" / "0.jpg"
    file.write_bytes(start + bytes(200))
    found = [
        (text, advice)
        for _, text, advice in inspect_data(Data(name="folder", root=str(tmp_path), image_size=8), 4)
        if "cannot be read" in text
    ]
    ((text, advice),) = found
    assert str(file) in text
    assert advice.startswith(
        f"it is in the format {name}, and formats that are read are BMP, GIF, JPEG, PNG, PPM, TIFF"
    )


@pytest.mark.parametrize("kind", ["bmp", "gif", "jpeg", "mpo", "png", "ppm", "tiff", "webp"])
def test_every_format_of_the_endings_is_read(kind):
    out, images = io.BytesIO(), [Image.new("RGB", (16, 16), (200, 30 + i, 40)) for i in range(2)]
    images[0].save(out, kind, **({"save_all": True, "append_images": images[1:]} if kind == "mpo" else {}))
    assert np.abs(np.asarray(decode_image(out.getvalue())).astype(int) - (200, 30, 40)).max() < 9


def test_whatever_a_decoder_raises_is_a_reason(monkeypatch):
    good = io.BytesIO()
    Image.new("RGB", (40, 40)).save(good, "png")
    for content in (b"", b"text", good.getvalue()[:60], b"\x89PNG\r\n\x1a\n" + bytes(40), b"II*\0\xff\xff\xff\xff"):
        with pytest.raises(UnreadableImage):
            decode_image(content)
    for error in (IndexError("list"), KeyError(3), AssertionError(), ZeroDivisionError("by"), RecursionError("deep")):
        monkeypatch.setattr(Image, "open", lambda *_, error=error, **__: (_ for _ in ()).throw(error))
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


@pytest.mark.parametrize(("orientation", "turned"), [(None, False), (1, False), (2, True), (6, True), (9, False)])
@pytest.mark.parametrize("ending", ["jpg", "png", "webp"])
def test_doctor_notes_images_that_are_stored_turned(tmp_path, orientation, turned, ending):
    folders(tmp_path)
    image, exif = Image.new("RGB", (9, 5)), Image.Exif()
    image.putpixel((0, 0), (255, 255, 255))
    if orientation:
        exif[0x0112] = orientation
    file = tmp_path / "train" / "bee" / f"photo.{ending}"
    image.save(file, exif=exif)
    assert decode_image(file.read_bytes()).size == (9, 5)  # as stored
    found = [
        (level, text) for level, text, _ in inspect_data(Data(name="folder", root=str(tmp_path), image_size=8), 4)
        if "EXIF" in text
    ]  # fmt: skip
    text = f"train/: 1 sampled images are stored turned (EXIF orientation), and used as stored ({file})"
    assert found == ([("note", text)] if turned else [])


def test_tiff_is_turned_by_pil_and_not_said_to_be_as_stored():
    out, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (9, 5)).save(out, "tiff", exif=exif)
    image, facts = decode_with_facts(out.getvalue())
    assert (image.size, facts.turned) == ((5, 9), False)
