# SPDX-License-Identifier: Apache-2.0
"""A headless Chromium that Python steers: the DevTools protocol through two pipes, so that nothing else is needed."""

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
LIMIT_S = 60


def find():
    """-> the path of a browser, or None"""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One page of one browser; `messages` are the errors and console messages since the last open()."""

    def __init__(self, program):
        self.profile = tempfile.TemporaryDirectory()
        to_child, self.to_browser = os.pipe()
        self.from_browser, from_child = os.pipe()
        command = [program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
                   "--remote-debugging-pipe", f"--user-data-dir={self.profile.name}"]
        # the browser expects its pipes as the descriptors 3 and 4
        shell = ["sh", "-c", f'exec "$@" 3<&{to_child} 4>&{from_child}', "sh", *command]
        self.process = subprocess.Popen(shell, pass_fds=(to_child, from_child), stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(to_child)
        os.close(from_child)
        self.received, self.count, self.session, self.messages, self.events = b"", 0, None, [], []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def close(self):
        os.close(self.to_browser)
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self.from_browser)
        self.profile.cleanup()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _next(self, deadline):
        while b"\0" not in self.received:
            left = deadline - time.monotonic()
            assert left > 0 and select.select([self.from_browser], [], [], left)[0], "the browser doesn't answer"
            piece = os.read(self.from_browser, 1 << 20)
            assert piece, "the browser ended"
            self.received += piece
        message, self.received = self.received.split(b"\0", 1)
        return json.loads(message)

    def _note(self, event):
        name, what = event["method"], event.get("params", {})
        self.events.append(name)
        if name == "Runtime.consoleAPICalled":
            self.messages.append(" ".join(str(a.get("value", a.get("description"))) for a in what["args"]))
        elif name == "Runtime.exceptionThrown":
            self.messages.append(json.dumps(what["exceptionDetails"])[:400])
        elif name == "Log.entryAdded":
            self.messages.append(what["entry"]["text"])
        elif name == "Network.requestWillBeSent" and not what["request"]["url"].startswith(("file:", "data:", "about:")):
            self.messages.append(f"asked the network for {what['request']['url']}")

    def call(self, method, **params):
        self.count += 1
        message = {"id": self.count, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to_browser, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + LIMIT_S
        while True:
            answer = self._next(deadline)
            if answer.get("id") == self.count:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]
            if "method" in answer:
                self._note(answer)

    def open(self, path, width=1280, dark=False):
        self.messages, self.events = [], []
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600)
        self.call("Emulation.setEmulatedMedia", media="",
                  features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
        self.call("Page.navigate", url=f"file://{path}")
        deadline = time.monotonic() + LIMIT_S
        while "Page.loadEventFired" not in self.events:
            event = self._next(deadline)
            if "method" in event:
                self._note(event)

    def evaluate(self, expression):
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, f"{expression}: {answer['exceptionDetails']}"
        return answer["result"].get("value")

    def settle(self):
        """Waits until what was scrolled or changed has been drawn."""
        self.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(0))))")

    def move(self, x, y):
        self.settle()
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def screenshot(self, path):
        """The page from top to bottom, and not only what the window shows."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], 16000), "scale": 1}
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(shot["data"]))

    def pdf(self):
        return base64.b64decode(self.call("Page.printToPDF", printBackground=True, preferCSSPageSize=True)["data"])
