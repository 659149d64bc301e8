"""The pictures of README.md: two real pages of `minicnn study`, as a headless Chromium shows them (extra `test`, and on Debian
apt-get install chromium chromium-driver).

    cp "$(python -c 'import matplotlib; print(matplotlib.get_data_path())')/sample_data/grace_hopper.jpg" .
    minicnn study squeezenet1_0 --weights compressed_SqueezeNet.net --image grace_hopper.jpg --out squeezenet
    minicnn study alexnet --image grace_hopper.jpg --out alexnet
    python docs/images/make.py squeezenet alexnet

The photograph shows Rear Admiral Grace Hopper; it is the U.S. Navy's and in the public domain.
"""

import io
import sys
from pathlib import Path

from PIL import Image

HERE = Path(__file__).resolve().parent
LARGEST = 200_000       # bytes of a picture
DRAWN = "document.querySelector('#sheet')?.dataset.drawn"


def squeezenet(page):
    """What the answer rests on."""
    page.do("document.querySelector('#image').scrollIntoView({behavior: 'instant'})")


def alexnet(page):
    """One value of the first response normalisation, worked out."""
    page.do("select(inside.nodes.findIndex(node => node.kind === 'LocalResponseNorm'), null, {tab: 'maps', reveal: true})")
    page.wait(DRAWN)
    page.click("#tab-value")
    page.do("document.querySelector('#inside').scrollIntoView({behavior: 'instant'})")


def picture(page):
    """The window as an image in WebP, in the best quality that is small enough."""
    shown = Image.open(io.BytesIO(page.browser.get_screenshot_as_png())).convert("RGB")
    for quality in range(90, 30, -10):
        file = io.BytesIO()
        shown.save(file, "webp", quality=quality, method=6)
        if file.tell() <= LARGEST:
            return file.getvalue()
    raise SystemExit(f"the picture of {page.path} takes over {LARGEST} bytes; show less of the page")


def main(folders):
    """One picture for each of the pages' folders, in the order of the docstring."""
    sys.path.insert(0, str(HERE.parents[1] / "tests"))
    import browser
    chromium = browser.start()
    for (show, height), folder in zip(((squeezenet, 900), (alexnet, 1190)), folders, strict=True):
        page = browser.Page(chromium, Path(folder) / "index.html", height=height)
        page.wait("document.querySelectorAll('[data-evidence]').length > 1")
        page.wait(DRAWN)
        show(page)
        path = HERE / f"study-{show.__name__}.webp"
        path.write_bytes(picture(page))
        print(f"{path}: {path.stat().st_size:,} bytes")
    browser.stop(chromium)


if __name__ == "__main__":
    main(sys.argv[1:])
