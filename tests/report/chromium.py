"""A headless Chromium for tests of pages; one a module is enough."""

import contextlib
import shutil
import tempfile
from pathlib import Path

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
MISSING = "" if CHROMIUM and DRIVER else "chromium and chromedriver are not installed"

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-unsafe-swiftshader",  # parallel coordinates need WebGL
    "--hide-scrollbars",
)
READY = """
const done = arguments[0], root = document.documentElement;
const look = () => "ready" in root.dataset || "failed" in root.dataset ? done(root.dataset.ready ?? null)
  : setTimeout(look, 20);
look();
"""


class Browser:
    """A browser with a profile of its own, as a context.

    Attributes:
        driver: Selenium's driver.
    """

    def __init__(self, width=1400, height=1000):
        self._size = width, height
        self._stack = contextlib.ExitStack()

    def __enter__(self):
        from selenium import webdriver

        profile = self._stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for flag in (*FLAGS, f"--user-data-dir={profile}", f"--window-size={self._size[0]},{self._size[1]}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        service = webdriver.ChromeService(DRIVER)
        self.driver = webdriver.Chrome(options=options, service=service)
        self._stack.callback(self.driver.quit)
        self.driver.set_script_timeout(60)
        return self

    def __exit__(self, *error):
        self._stack.close()

    def open(self, path, fragment=""):
        """Open a page in a fresh document; return the seconds until it was drawn, None where it was not."""
        self.driver.get("about:blank")
        self.driver.get(f"{Path(path).as_uri()}{fragment}")
        return self.wait()

    def wait(self):
        drawn = self.driver.execute_async_script(READY)
        return None if drawn is None else float(drawn) / 1000

    def js(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def size(self, width, height=1000):
        """Take the size of a window, or of a phone."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 640}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def scheme(self, name):
        """Prefer a color scheme: light or dark."""
        features = [{"name": "prefers-color-scheme", "value": name}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def troubles(self):
        """What the console said since the last call, but for the software renderer's own advice."""
        return [
            entry["message"]
            for entry in self.driver.get_log("browser")
            if "GPU stall due to ReadPixels" not in entry["message"]
        ]
