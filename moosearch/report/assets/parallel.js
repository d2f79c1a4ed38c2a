"use strict";
// Genes and objectives as parallel coordinates, whose brushes filter every view.
const Parallel = (data, known, view, update) => {
  const { el, label } = Page;
  const { columns, column, spread, shared, scale, FRONT, FAILED } = known;
  const { S, keeps } = view;
  const all = data.candidates;
  const count = all.id.length;
  const byId = (id) => document.getElementById(id);

  function drawnParallel(c) {
    const rows = [];
    for (let row = 0; row < count; row++) {
      if (keeps[row] && all.state[row] !== FAILED && (!S.only || all.state[row] === FRONT)) rows.push(row);
    }
    const cc = column(S.c);
    const [low, high] = cc.labels ? [0, Math.max(1, cc.labels.length - 1)] : spread(cc);
    const shade = (row) => {
      if (all.state[row] !== FRONT || cc.values[row] === null) return -0.1;
      return high > low ? Math.min(1, Math.max(0, (cc.values[row] - low) / (high - low))) : 0.5;
    };
    const ramp = [[0, c.pale], [0.09, c.pale], ...c.scale.map(([at, color]) => [(at + 0.1) / 1.1, color])];
    const cut = (name, most) => (name.length > most ? `${name.slice(0, most - 1)}…` : name);
    const dimensions = S.axes.map((key, place) => {
      const { at, range, ticks } = scale(key);
      return {
        name: key,
        label: label(column(key).name),
        values: rows.map(at),
        range,
        tickvals: ticks.map((t) => t[0]),
        ticktext: ticks.map((t) => label(cut(t[1], place ? 14 : 26))),
        ...(S.brush[key]
          ? { constraintrange: S.brush[key].length > 1 ? S.brush[key] : S.brush[key][0] }
          : {}),
      };
    });
    const trace = {
      type: "parcoords",
      dimensions,
      line: { color: rows.map(shade), colorscale: ramp, cmin: -0.1, cmax: 1 },
      unselected: { line: { color: c.line, opacity: 0.25 } },
      labelangle: -18,
      labelside: "top",
      labelfont: { size: 12, color: c.ink },
      tickfont: { size: 11, color: c.ink },
      rangefont: { size: 1, color: "rgba(0,0,0,0)" },
    };
    const longest = Math.max(
      ...(dimensions[0]?.ticktext ?? []).map((t) => t.length),
      (dimensions[0]?.label.length ?? 0) / 2,
    );
    return {
      traces: [trace],
      layout: {
        margin: { l: 14 + 6.4 * Math.min(26, longest), r: 64, t: 72, b: 20 },
        font: { size: 12, color: c.ink },
      },
    };
  }

  const widen = () => {
    byId("parallel").style.minWidth = `${Math.max(300, S.axes.length * 92)}px`;
  };

  function draw() {
    const where = byId("parallel");
    if (!Page.webgl()) {
      where.replaceChildren(
        el("p", {
          class: "hint",
          text: "Parallel coordinates need WebGL, which this browser does not have.",
        }),
      );
      return;
    }
    Page.plot(where, drawnParallel);
    where.on("plotly_restyle", readBrush);
  }

  function readBrush() {
    const dimensions = byId("parallel").data[0].dimensions;
    S.axes = dimensions.map((d) => d.name);
    for (const { name, constraintrange: range } of dimensions) {
      if (range?.length)
        S.brush[name] = (Array.isArray(range[0]) ? range : [range]).map(([a, b]) => [
          Math.min(a, b),
          Math.max(a, b),
        ]);
      else delete S.brush[name];
    }
    update("brush");
  }

  function drawDimensions() {
    const offered = [...columns.values()].filter((c) => !shared(c));
    byId("dimensions").replaceChildren(
      ...offered.map((c) =>
        el("button", {
          type: "button",
          class: "chip",
          "aria-pressed": String(S.axes.includes(c.key)),
          text: c.name,
          title: c.key,
          onclick: () => {
            if (S.axes.includes(c.key)) {
              if (S.axes.length < 3) return;
              S.axes = S.axes.filter((key) => key !== c.key);
              delete S.brush[c.key];
            } else S.axes = [...columns.keys()].filter((key) => S.axes.includes(key) || key === c.key);
            update("axes");
          },
        }),
      ),
    );
  }

  return { draw, drawDimensions, widen };
};
