"""Of 300 random sets with oddities, in three forms: every entry is an image where it belongs, or counted by kind."""

import random
from collections import Counter

import pytest
from odd_sets import COPIES, FORMS, ONE_CLASS, TWO_CLASSES, random_split, write

from dynvit.config.data import Data
from dynvit.data.factory import index_dataset

SETS = 300
PARTS = 10


def found(split, classes):
    return Counter((int(classes[label]), split.read(i)) for i, label in enumerate(split.labels))


@pytest.mark.parametrize("part", range(PARTS))
def test_no_entry_is_lost_doubled_or_unsaid(part, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for seed in range(part, SETS, PARTS):
        for form in FORMS:
            draw, root = random.Random(seed), tmp_path / f"{seed}-{form}"
            root.mkdir()
            classes = draw.randint(2, 4)
            train = random_split("train", form, classes, 2 * seed, 0)
            val = random_split(draw.choice(("val", "validation", "test")), form, classes, 2 * seed + 1, 20_000)
            labels: dict[bytes, list[int]] = {}
            for i in range(draw.choice((0, 0, 1, 3))):
                content, label = draw.choice(sorted(content for _, content in train.images)), draw.randrange(classes)
                labels.setdefault(content, []).append(label)
                val.image(form, label, f"copy{i}.png", content)
            copied = sum(count for (_, content), count in val.images.items() if content in {c for _, c in train.images})
            for made in (train, val):
                write(made, form, root, draw)
            index = index_dataset(Data(name=form, root=str(root)))
            where = f"set {seed} as {form} in {root}"
            assert found(index.train, index.classes) == train.images, where
            assert found(index.val, index.classes) == val.images, where
            said = Counter({(made.name, kind): count for made in (train, val) for kind, count in made.said.items()})
            said[val.name, COPIES] = copied
            said[val.name, TWO_CLASSES] = sum(len(each) for each in labels.values() if len(set(each)) > 1)
            said[val.name, ONE_CLASS] = sum(n - 1 for each in labels.values() for n in Counter(each).values())
            seen = Counter(
                {(remark.where.partition(".")[0].strip("/"), remark.kind): remark.count for remark in index.remarks}
            )
            if form == "wds":  # its splits have the name of what they are
                said = Counter({({"validation": "val"}.get(name, name), kind): n for (name, kind), n in said.items()})
            assert seen == +said, where
