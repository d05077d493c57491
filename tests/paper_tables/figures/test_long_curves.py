"""Curves of very many steps: a page shows some of them and says so; their text is never made whole."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import synthetic_frame

from paper_tables.data import contents
from paper_tables.data.load import load_frame
from paper_tables.figures import curves as draw_curves
from paper_tables.schema.figures import Curves
from paper_tables.site.default_spec import default_spec
from paper_tables.tables.labels import Names


def test_of_long_curves_some_steps_are_drawn_and_that_is_said(tmp_path: Path) -> None:
    trials, curves = synthetic_frame.frames()
    long = str(curves.loc[curves["metric"] == "val.top1", "trial"].iloc[0])
    steps = np.arange(5000)
    more = pd.DataFrame({"trial": long, "step": steps, "metric": "val.top1", "value": 50 + 40 * steps / 4999})
    curves = pd.concat([curves[(curves["trial"] != long) | (curves["metric"] != "val.top1")], more])
    loaded = load_frame(synthetic_frame.write(tmp_path, trials, curves, synthetic_frame.about()))
    names = Names(default_spec(loaded), loaded)
    spec = next(f for f in names.spec.figures if isinstance(f, Curves))
    figure, _ = draw_curves.draw(spec, names)
    lines = [line for ax in figure.axes for line in ax.lines]
    assert max(len(line.get_xdata()) for line in lines) <= 1100
    assert max(line.get_xdata()[-1] for line in lines) == 4999
    assert {ax.get_xlabel() for ax in figure.axes} == {"Epoch (1000 of them drawn)"}


def test_the_digest_is_that_of_the_whole_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trials, curves = synthetic_frame.frames()
    frame = load_frame(synthetic_frame.write(tmp_path, trials, curves, synthetic_frame.about()))
    text = frame.rows.to_csv(index=False) + frame.curves.to_csv(index=False)
    text += json.dumps(frame.raw_metadata, sort_keys=True)
    whole = hashlib.sha256(text.encode()).hexdigest()[:12]
    assert frame.digest == whole
    monkeypatch.setattr(contents, "AT_ONCE", 7)
    assert contents.contents_digest(frame.rows, frame.curves, frame.raw_metadata, b"") == whole
