"use strict";
// What every page needs: its data, Plotly, colors that follow the scheme, state in the address, small helpers.
const Page = (() => {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const drawings = new Map();

  /** Make an element. `class`, `text` and on... are meant; false and null leave an attribute out. */
  function el(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value === false || value === null || value === undefined) continue;
      if (name === "class") made.className = value;
      else if (name === "text") made.textContent = value;
      else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
      else made.setAttribute(name, value === true ? "" : value);
    }
    made.append(...children.filter((child) => child !== null && child !== undefined));
    return made;
  }

  /** Write a value for people: four digits, or whole with separators from 1,000. */
  function number(value) {
    if (value === null || value === undefined || Number.isNaN(value)) return "–";
    if (typeof value !== "number") return String(value);
    if (Math.abs(value) >= 1000) return Math.round(value).toLocaleString("en-US");
    return String(Number(value.toPrecision(4)));
  }

  /** A number with its noun: 1 member, 1,200 candidates. */
  const counted = (count, noun) => `${count.toLocaleString("en-US")} ${noun}${count === 1 ? "" : "s"}`;

  /** Text for Plotly, which reads some HTML in labels: shown as it is. */
  const label = (text) =>
    String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

  /** Colors of the scheme, by the name of the CSS variable. */
  function colors() {
    const style = getComputedStyle(root);
    const names = ["ink", "soft", "line", "card", "accent", "pale", "good", "bad", "warn"];
    const found = Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
    found.series = [1, 2, 3, 4, 5, 6, 7].map((n) => style.getPropertyValue(`--series-${n}`).trim());
    found.scale = dark.matches
      ? [
          [0, "#5b3d8a"],
          [0.25, "#3f6fb0"],
          [0.5, "#2a9d8f"],
          [0.75, "#7ad151"],
          [1, "#fde725"],
        ]
      : [
          [0, "#440154"],
          [0.25, "#3b528b"],
          [0.5, "#21918c"],
          [0.75, "#5ec962"],
          [1, "#d9c800"],
        ];
    return found;
  }

  /** A layout in the colors of the scheme; `own` goes before. */
  function themed(own, c) {
    const axis = { gridcolor: c.line, zerolinecolor: c.line, linecolor: c.soft, automargin: true };
    const layout = {
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: c.ink },
      margin: { l: 8, r: 8, t: 8, b: 8 },
      hoverlabel: { bgcolor: c.card, bordercolor: c.soft, font: { color: c.ink }, align: "left" },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: c.pale, activecolor: c.accent },
      ...own,
    };
    for (const name of Object.keys(layout).filter((key) => /^[xy]axis\d*$/.test(key))) {
      layout[name] = { ...axis, ...layout[name] };
    }
    return layout;
  }

  /**
   * Draw a plot, and again whenever the color scheme changes.
   * `build(colors)` returns {traces, layout}; call `redraw(element)` when what it shows has changed: it does
   * nothing where nothing was drawn yet.
   */
  function plot(element, build) {
    drawings.set(element, build);
    return redraw(element);
  }

  function redraw(element) {
    if (!drawings.has(element)) return null;
    const c = colors();
    const { traces, layout } = drawings.get(element)(c);
    const buttons = traces.some((trace) => trace.type === "parcoords")
      ? ["toImage"]
      : ["zoom2d", "pan2d", "resetScale2d", "toImage"];
    // On a phone a finger that moves scrolls the page; zooming is by double tap and the controls.
    const phone = matchMedia("(max-width: 640px)").matches;
    if (phone) layout.dragmode ??= false;
    const config = {
      responsive: true,
      displaylogo: false,
      displayModeBar: phone ? false : "hover",
      modeBarButtons: [buttons],
    };
    return Plotly.react(element, traces, themed(layout, c), config);
  }

  const waiting = new Map();
  const near = new IntersectionObserver(
    (entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => now(entry.target)),
    { rootMargin: "400px" },
  );

  /** Call `draw` once the element comes near the window, or is printed: what is far down costs nothing before. */
  function later(element, draw) {
    waiting.set(element, draw);
    near.observe(element);
  }

  function now(element) {
    const draw = waiting.get(element);
    waiting.delete(element);
    near.unobserve(element);
    if (draw) draw();
  }

  addEventListener("beforeprint", () => [...waiting.keys()].forEach(now));

  dark.addEventListener("change", () => drawings.forEach((_, element) => redraw(element)));

  /** State in the address: what a reload, a bookmark or a colleague with the link gets. */
  const state = {
    read: () => new URLSearchParams(location.hash.slice(1)),
    write(values) {
      const kept = Object.entries(values).filter(([, value]) => value !== "" && value !== null);
      const text = new URLSearchParams(kept).toString();
      history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
    },
  };

  let hasWebgl;
  /** Whether this browser has WebGL. */
  function webgl() {
    hasWebgl ??= Boolean(document.createElement("canvas").getContext("webgl"));
    return hasWebgl;
  }

  /** Hand a text to the user as a file. */
  function download(name, text, type) {
    const url = URL.createObjectURL(new Blob([text], { type }));
    const link = el("a", { href: url, download: name });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  }

  /** Put a text into the clipboard, also where a page from a file may not. */
  async function copy(text) {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = el("textarea", { class: "off" });
      area.value = text;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
  }

  function trouble(error) {
    const where = document.getElementById("trouble");
    where.textContent = `This page could not be drawn: ${error.message}`;
    where.hidden = false;
    root.dataset.failed = "";
    console.error(error);
  }

  async function unpack() {
    if (typeof DecompressionStream === "undefined") {
      throw new Error("it takes a browser of 2023 or later.");
    }
    const text = atob(document.getElementById("plotly").textContent);
    const bytes = Uint8Array.from(text, (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(stream).text();
    document.head.append(script);
  }

  /** Load the page again after some seconds, when nobody is busy with it; it then stands where it stood. */
  function refresh() {
    const seconds = Number(root.dataset.refresh);
    if (!seconds) return;
    let touched = 0;
    for (const name of ["pointerdown", "keydown", "wheel", "touchmove", "input"]) {
      addEventListener(
        name,
        () => {
          touched = Date.now();
        },
        { passive: true },
      );
    }
    setInterval(() => {
      if (document.hidden || Date.now() - touched < 5000) return;
      try {
        sessionStorage.setItem("moosearch-scroll", String(scrollY));
      } catch {
        /* not kept, then */
      }
      location.reload();
    }, seconds * 1000);
  }

  function restore() {
    try {
      const where = sessionStorage.getItem("moosearch-scroll");
      sessionStorage.removeItem("moosearch-scroll");
      if (where) scrollTo(0, Number(where));
    } catch {
      /* a browser without storage begins at the top */
    }
  }

  /** Draw the page: `draw(data)` is called once Plotly is there; the root says `data-ready` after it. */
  async function start(draw) {
    try {
      const data = JSON.parse(document.getElementById("data").textContent);
      await unpack();
      await draw(data);
      root.dataset.ready = String(Math.round(performance.now()));
      restore();
    } catch (error) {
      trouble(error);
    }
    refresh();
  }

  // The address holds state: a link to a section scrolls, and leaves it alone.
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.('a[href^="#"]');
    const target = link && document.getElementById(link.getAttribute("href").slice(1));
    if (!target) return;
    event.preventDefault();
    target.scrollIntoView();
    if (!target.hasAttribute("tabindex")) target.setAttribute("tabindex", "-1");
    target.focus({ preventScroll: true });
  });

  return { colors, copy, counted, download, el, label, later, number, plot, redraw, start, state, webgl };
})();
