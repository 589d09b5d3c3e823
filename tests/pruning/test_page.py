"""The page of a pruned network: all of it in one file, which a browser shows as it should."""

import html.parser
import re
import shutil
import subprocess

import keras
import numpy as np
import pytest

import tfgates
from tfgates.pruning import write_page
from tfgates.pruning.drawings import _lanes, _ticks, draw_lines, draw_network
from tfgates.pruning.page import page_of
from tfgates.pruning.skeleton import skeleton_of

VOID = {"meta", "br"}
# What a browser is asked: whether each drawing shows, and all of it lies within.
PROBE = """<script>
const out = [];
for (const svg of document.querySelectorAll("svg")) {
  const box = svg.viewBox.baseVal, seen = svg.getBoundingClientRect(), all = svg.getBBox();
  if (seen.width < 200 || seen.height < 50) out.push("small " + seen.width);
  if (all.x < -1 || all.y < -1 || all.x + all.width > box.width + 1 || all.y + all.height > box.height + 1)
    out.push("outside " + [all.x, all.y, all.x + all.width, all.y + all.height, box.width, box.height]);
}
document.body.setAttribute("data-found", JSON.stringify(out) + document.querySelectorAll("svg").length);
</script></body>"""


@pytest.fixture(scope="module")
def report():
    """Of a residual network with branches, one of whose layers has a name that HTML would misread."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 6, 2), name="image")
    x = start = keras.layers.Conv2D(8, 3, padding="same", activation="relu", name="stem")(inputs)
    x = tfgates.layers.GatedConv2D(6, 3, padding="same", activation="relu", name="a&b")(x)
    x = keras.layers.Add(name="add")([start, keras.layers.Conv2D(8, 1, name="back")(x)])
    x = keras.layers.Concatenate(name="both")([start, keras.layers.ReLU()(x)])
    model = keras.Model(inputs, keras.layers.Dense(3, name="out")(keras.layers.Flatten()(x)), name="net")
    model.get_layer("a&b").gate.logits.assign([4.0, -4.0, 4.0, 4.0, -4.0, -4.0])
    report = tfgates.report_of(tfgates.prune(model))
    report.history.add("gates", {"loss": [1.0, 0.8, 0.7], "val_loss": [1.1, 0.9, 0.8], "macs": [1.0, 0.8, 0.5]})
    report.history.add("fine-tuning", {"loss": [0.6], "val_loss": [0.7]})
    return report


class Tags(html.parser.HTMLParser):
    """Sees that each tag is closed, and where links lead."""

    def __init__(self, text):
        super().__init__()
        self.open, self.kinds, self.links = [], set(), []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.kinds.add(tag)
        self.links += [value for name, value in attributes if name in ("src", "href", "xlink:href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.kinds.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_skeleton(report):
    items = report.skeleton
    assert [item["name"] for item in items] == ["image", "stem", "a&b", "back", "add", "both", "out"]
    assert [item["reads"] for item in items] == [[], [0], [1], [2], [1, 3], [1, 4], [5]]
    assert [item["row"] is None for item in items] == [True, False, False, False, True, True, False]


def test_layers_that_go_altogether_are_pale():
    model = keras.Sequential(
        [keras.Input((4,)), tfgates.layers.GatedDense(3, name="gone", use_bias=False), keras.layers.Dense(2)]
    )
    model.get_layer("gone").gate.logits.assign([-4.0] * 3)
    plan = tfgates.plan_pruning(model)
    drawn = draw_network(skeleton_of(plan), plan.records())
    assert ('class="gone"' in drawn) == (not all(item["left"] for item in skeleton_of(plan)))
    assert "0 of 3" in drawn


def test_page_stands_alone(report):
    text = page_of(report, "A <title>", [("flag", "a & b")])
    tags = Tags(text)
    assert tags.open == [] and tags.links == [] and "script" not in tags.kinds and "://" not in text
    for shown in ("A &lt;title&gt;", "a &amp; b", "3 of 6", "a&amp;b", "fine-tuning", "val_loss"):
        assert shown in text
    assert "a&b" not in text and text.count("<svg") == 1 + 3


def test_without_logs_there_are_no_curves(report, tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.Dense(2)])
    model.layers[0].kernel.assign(np.diag(np.ones(4))[:, :3] * [1, 0, 1])
    small = tfgates.prune(model)
    write_page(tfgates.report_of(small), tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text("utf-8")
    assert text.count("<svg") == 1 and "Training" not in text and Tags(text).open == []


def test_bows_beside_each_other_have_lanes_of_their_own():
    lanes = _lanes([(0, 9), (1, 4), (5, 8), (2, 7)])
    assert lanes[1, 4] == lanes[5, 8] == 0 and len({lanes[0, 9], lanes[2, 7], 0}) == 3


def test_lines_of_one_value_and_marks_outside():
    drawn = draw_lines("flat", {"a": [(1, 2.0), (2, 2.0)]}, "epoch", [(1.5, "inside"), (7, "outside")])
    assert "inside" in drawn and "outside" not in drawn and "nan" not in drawn
    assert _ticks(0, 1) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])


@pytest.mark.slow
def test_a_browser_shows_all_of_it(report, tmp_path):
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("Needs a browser: chromium")
    text = page_of(report, "A page", [("flag", "value")])
    (tmp_path / "page.html").write_text(text.replace("</body>", PROBE), "utf-8")
    command = [
        browser,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--dump-dom",
        f"--user-data-dir={tmp_path / 'profile'}",
    ]
    shown = subprocess.run([*command, f"file://{tmp_path / 'page.html'}"], capture_output=True, text=True, timeout=120)
    assert re.search(r'data-found="(.*?)"', shown.stdout)[1] == "[]4"
