"use strict";
// The front as points: any column across, up and as color, with confirmed values, rings and pins.
const Scatter = (data, known, view) => {
  const { el, label, number } = Page;
  const { column, genes, text, title, spread, shared, objectiveKeys, rowOf } = known;
  const { FRONT, DOMINATED, INFEASIBLE, FAILED } = known;
  const { S, visible, chosen, member } = view;
  const MANY = 1500; // points, from which dominated ones are drawn with WebGL
  const all = data.candidates;
  const count = all.id.length;

  function onAxis(c, log) {
    if (!c.labels) return { at: (row) => c.values[row], axis: { type: log ? "log" : "linear" } };
    return {
      at: (row) => c.values[row],
      axis: {
        type: "linear",
        tickvals: c.labels.map((_, i) => i),
        ticktext: c.labels.map(label),
        range: [-0.5, c.labels.length - 0.5],
      },
    };
  }

  /** The range of some rows with a margin; undefined where it would say nothing. */
  function rangeOf(c, rows, log) {
    if (c.labels) return undefined;
    const confirmed = !S.confirmed
      ? []
      : rows
          .map(member)
          .filter(Boolean)
          .map((m) => m.values[c.key])
          .filter(Boolean);
    const ends = confirmed.flatMap(([mean, std]) => [mean - (std ?? 0), mean + (std ?? 0)]);
    const there = [...rows.map((row) => c.values[row]), ...ends]
      .filter((v) => typeof v === "number" && (!log || v > 0))
      .map((v) => (log ? Math.log10(v) : v));
    if (there.length < 2) return undefined;
    const [low, high] = [Math.min(...there), Math.max(...there)];
    const margin = (high - low || Math.abs(high) || 1) * 0.12;
    return [low - margin, high + margin];
  }

  function drawnScatter(c) {
    const [cx, cy, cc] = [column(S.x), column(S.y), column(S.c)];
    const log = { x: S.xlog && !cx.labels, y: S.ylog && !cy.labels };
    const [ax, ay] = [onAxis(cx, log.x), onAxis(cy, log.y)];
    const there = (row) =>
      visible(row) && all.state[row] !== FAILED && cx.values[row] !== null && cy.values[row] !== null;
    const rows = [[], [], [], []];
    for (let row = 0; row < count; row++) if (there(row)) rows[all.state[row]].push(row);
    const trace = (name, which, marker, extra = {}) => ({
      type: "scatter",
      mode: "markers",
      name: `${name} (${which.length})`,
      x: which.map(ax.at),
      y: which.map(ay.at),
      customdata: which,
      hoverinfo: "none",
      marker,
      ...extra,
    });
    const quick = (which) => (which.length > MANY && Page.webgl() ? { type: "scattergl" } : {});
    const traces = [
      trace(
        "infeasible",
        rows[INFEASIBLE],
        { symbol: "x-thin", size: 7, line: { width: 1.5, color: c.pale } },
        { visible: "legendonly", ...quick(rows[INFEASIBLE]) },
      ),
      trace("dominated", rows[DOMINATED], { size: 7, color: c.pale, opacity: 0.55 }, quick(rows[DOMINATED])),
    ];
    const outline = { width: 1, color: c.card };
    if (cc.labels) {
      cc.labels.forEach((name, index) => {
        const which = rows[FRONT].filter((row) => cc.values[row] === index);
        if (which.length)
          traces.push(
            trace(label(name), which, { size: 12, color: c.series[index % 7], symbol: index, line: outline }),
          );
      });
      const none = rows[FRONT].filter((row) => cc.values[row] === null);
      if (none.length) traces.push(trace("front, none", none, { size: 12, color: c.soft, line: outline }));
    } else {
      const colored = rows[FRONT].map((row) => cc.values[row]);
      traces.push(
        trace("front", rows[FRONT], {
          size: 12,
          color: colored.map((v) => v ?? c.soft),
          colorscale: c.scale,
          line: outline,
          showscale: new Set(colored.filter((v) => v !== null)).size > 1,
          colorbar: {
            title: { text: label(cc.name), side: "right" },
            thickness: 12,
            outlinewidth: 0,
            tickfont: { color: c.ink },
          },
        }),
      );
    }
    if (data.confirmation && S.confirmed) traces.push(...confirmedTraces(c, there));
    const ring = (name, row, symbol, size, color) =>
      row !== undefined &&
      there(row) &&
      traces.push({
        ...trace(name, [row], { symbol, size, color, line: { width: 2, color } }),
        name,
        hoverinfo: "skip",
        customdata: [],
      });
    ring("knee", data.decisions.find((d) => d.rule === "knee")?.row, "circle-open", 21, c.bad);
    ring("your weights", chosen(), "diamond-open", 23, c.accent);
    const pinned = S.pins.map((id) => rowOf.get(id)).filter(there);
    if (pinned.length) {
      traces.push({
        type: "scatter",
        mode: "markers+text",
        name: "pinned",
        x: pinned.map(ax.at),
        y: pinned.map(ay.at),
        hoverinfo: "skip",
        text: pinned.map((row) => String(S.pins.indexOf(all.id[row]) + 1)),
        textposition: "top right",
        textfont: { size: 14, color: c.ink, weight: 700 },
        marker: { symbol: "square-open", size: 18, color: c.ink, line: { width: 2 } },
      });
    }
    const around = S.near ? [...rows[FRONT], ...pinned] : [];
    const axis = (c2, own, logged, short) => ({
      ...own.axis,
      title: { text: label(title(c2)), standoff: 8 },
      zeroline: false,
      ...(S.near && !c2.labels
        ? { range: rangeOf(c2, around, logged), autorange: rangeOf(c2, around, logged) ? false : true }
        : {}),
      ...(logged ? logTicks(c2) : { nticks: short }),
    });
    const narrow = innerWidth < 640;
    const layout = {
      xaxis: axis(cx, ax, log.x, narrow ? 5 : 10),
      yaxis: axis(cy, ay, log.y, 8),
      hovermode: "closest",
      legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, itemclick: "toggle" },
      margin: { l: 8, r: 8, t: 36, b: 8 },
      uirevision: [S.x, S.y, S.xlog, S.ylog, S.near].join("|"),
    };
    if (narrow) {
      for (const each of traces) {
        if (each.marker?.colorbar)
          Object.assign(each.marker.colorbar, {
            orientation: "h",
            y: -0.28,
            yanchor: "top",
            title: { text: label(cc.name), side: "bottom" },
          });
      }
    }
    return { traces, layout };
  }

  /** Ticks of a logarithmic axis that spans little: Plotly would write their first digits alone. */
  function logTicks(c) {
    const [low, high] = spread(c);
    if (!(low > 0) || high / low > 1000) return {};
    const digits = high / low > 30 || innerWidth < 640 ? [1, 2, 5] : [1, 1.5, 2, 3, 4, 5, 6, 8];
    const ticks = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++)
      ticks.push(...digits.map((d) => Number((d * 10 ** power).toPrecision(2))));
    return { tickvals: ticks, ticktext: ticks.map(units) };
  }

  const units = (value) => {
    const [size, letter] = [
      [1e12, "T"],
      [1e9, "G"],
      [1e6, "M"],
      [1e3, "k"],
    ].find(([s]) => value >= s) ?? [1, ""];
    return `${Number((value / size).toPrecision(3))}${letter}`;
  };

  /** Confirmed means where the axes are objectives: a line from each estimate, and bars of deviations. */
  function confirmedTraces(c, there) {
    const known = (m, key) => m.values[key]?.[0] ?? (objectiveKeys.includes(key) ? m.estimate[key] : null);
    const found = data.confirmation.members.filter(
      (m) => m.trainings && there(rowOf.get(m.id)) && known(m, S.x) !== null && known(m, S.y) !== null,
    );
    if (!found.length || !(data.confirmation.keys.includes(S.x) || data.confirmation.keys.includes(S.y)))
      return [];
    const bars = (key) => ({
      type: "data",
      array: found.map((m) => m.values[key]?.[1] ?? 0),
      color: c.soft,
      thickness: 1.2,
      width: 4,
    });
    const legs = (key) => found.flatMap((m) => [column(key).values[rowOf.get(m.id)], known(m, key), null]);
    return [
      {
        type: "scatter",
        mode: "lines",
        x: legs(S.x),
        y: legs(S.y),
        line: { color: c.soft, width: 1, dash: "dot" },
        hoverinfo: "skip",
        showlegend: false,
      },
      {
        type: "scatter",
        mode: "markers",
        name: `confirmed (${found.length})`,
        x: found.map((m) => known(m, S.x)),
        y: found.map((m) => known(m, S.y)),
        error_x: data.confirmation.keys.includes(S.x) ? bars(S.x) : undefined,
        error_y: data.confirmation.keys.includes(S.y) ? bars(S.y) : undefined,
        customdata: found.map((m) => rowOf.get(m.id)),
        hoverinfo: "none",
        marker: {
          symbol: "diamond",
          size: 9,
          color: c.card,
          line: {
            width: 2,
            color: found.map((m) => (m.standing.stays && !m.checks.length ? c.good : c.warn)),
          },
        },
      },
    ];
  }

  function recipe(row) {
    return genes.filter((g) => g.values[row] !== null && !shared(g)).map((g) => [g.name, text(g, row)]);
  }

  const tip = el("div", { id: "tip", role: "tooltip", hidden: true });
  document.body.append(tip);

  function showTip(event) {
    const row = event.points[0].customdata;
    if (typeof row !== "number") return;
    const pairs = (list) =>
      el("dl", {}, ...list.flatMap(([k, v]) => [el("dt", { text: k }), el("dd", { text: v })]));
    tip.replaceChildren(
      el("b", { text: all.id[row] }),
      el("span", {
        class: "soft",
        text: ` ${all.states[all.state[row]]}, generation ${all.generation[row]}`,
      }),
      pairs(objectiveKeys.map((key) => [key, number(column(key).values[row])])),
      pairs(recipe(row)),
      el("span", { class: "soft", text: "click to pin" }),
    );
    tip.hidden = false;
    const { clientX = 0, clientY = 0 } = event.event ?? {};
    const box = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(4, Math.min(clientX + 16, innerWidth - box.width - 8))}px`;
    tip.style.top = `${Math.max(4, clientY + 16 + box.height > innerHeight ? clientY - box.height - 12 : clientY + 16)}px`;
  }

  const hideTip = () => {
    tip.hidden = true;
  };

  return { drawn: drawnScatter, showTip, hideTip };
};
