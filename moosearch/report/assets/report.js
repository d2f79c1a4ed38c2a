"use strict";
// The report of a campaign. One state, kept in the address; every change goes through `update`.
Page.start((data) => {
  const { el, label, number } = Page;
  const all = data.candidates;
  const count = all.id.length;
  const [FRONT, DOMINATED, INFEASIBLE, FAILED] = [0, 1, 2, 3];
  const PAGE_ROWS = 50;
  const MOST_PINS = 6;
  const MANY = 1500; // points, from which dominated ones are drawn with WebGL
  const byId = (id) => document.getElementById(id);
  const rowOf = new Map(all.id.map((id, row) => [id, row]));
  const objectives = data.objectives;
  const objectiveKeys = objectives.map((o) => o.key);

  const known = Columns(data);
  const { columns, column, numeric, genes, text, aligned, title, spread, wide, shared, scale } = known;

  // ---------------------------------------------------------------- state

  const costs = objectives.filter((o) => o.sense === "minimize").map((o) => o.key);
  const gains = objectives.filter((o) => o.sense === "maximize").map((o) => o.key);
  const across = costs[0] ?? objectiveKeys[0];
  const up = gains.at(-1) ?? objectiveKeys.find((key) => key !== across) ?? across;
  const halfActive = genes.filter(
    (g) => !shared(g) && g.values.filter((v) => v !== null).length * 2 >= count,
  );
  const defaults = {
    x: across,
    y: up,
    c: objectiveKeys.find((key) => key !== across && key !== up) ?? "generation",
    xlog: wide(column(across)),
    ylog: wide(column(up)),
    near: true,
    confirmed: true,
    pins: [],
    where: "",
    brush: {},
    only: count > 300,
    axes: [...(halfActive.length ? halfActive : genes).slice(0, 7).map((g) => g.key), ...objectiveKeys],
    weights: objectives.map(() => 50),
    rule: "compromise",
    q: "",
    status: "",
    sort: "state",
    page: 1,
  };
  const S = structuredClone(defaults);

  function readState() {
    const given = Page.state.read();
    for (const axis of ["x", "y", "c"]) if (columns.has(given.get(axis))) S[axis] = given.get(axis);
    for (const flag of ["xlog", "ylog", "near", "only", "confirmed"]) {
      if (given.has(flag)) S[flag] = given.get(flag) === "1";
    }
    const list = (name) => (given.get(name) ?? "").split(",").filter(Boolean);
    S.pins = list("pins")
      .filter((id) => rowOf.has(id))
      .slice(0, MOST_PINS);
    const axes = list("axes").filter((key) => columns.has(key));
    if (axes.length) S.axes = [...new Set(axes)];
    const weights = list("weights").map(Number);
    if (weights.length === objectives.length && weights.every((w) => w >= 0 && w <= 100)) S.weights = weights;
    if (given.get("rule") === "asf") S.rule = "asf";
    for (const name of ["where", "q"]) S[name] = given.get(name) ?? "";
    if (all.states.includes(given.get("status"))) S.status = given.get("status");
    if (
      columns.has((given.get("sort") ?? "").replace(/^-/, "")) ||
      /^-?(id|state)$/.test(given.get("sort"))
    ) {
      S.sort = given.get("sort");
    }
    S.page = Math.max(1, Math.trunc(Number(given.get("page"))) || 1);
    try {
      for (const [key, ranges] of Object.entries(JSON.parse(given.get("brush") ?? "{}"))) {
        const sound =
          Array.isArray(ranges) &&
          ranges.length > 0 &&
          ranges.every((r) => Array.isArray(r) && r.length === 2 && r.every(Number.isFinite));
        if (columns.has(key) && sound) S.brush[key] = ranges;
      }
    } catch {
      /* an address that was cut off: no brush */
    }
  }

  function writeState() {
    const written = {};
    for (const [name, value] of Object.entries(S)) {
      if (JSON.stringify(value) === JSON.stringify(defaults[name])) continue;
      if (typeof value === "boolean") written[name] = value ? "1" : "0";
      else if (Array.isArray(value)) written[name] = value.join(",");
      else written[name] = typeof value === "object" ? JSON.stringify(value) : String(value);
    }
    Page.state.write(written);
  }

  // ---------------------------------------------------------------- filters

  const keeps = new Uint8Array(count).fill(1); // the constraints
  const inBrush = new Uint8Array(count).fill(1);
  const visible = (row) => keeps[row] && inBrush[row];

  /** Read `robust_accuracy>=0.4, flops<=2e6`; throws an error that says what is wrong. */
  function constraints(written) {
    const names = new Map();
    for (const c of numeric) for (const name of [c.name, c.key]) names.set(name, c);
    return written
      .split(",")
      .map((part) => part.trim())
      .filter(Boolean)
      .map((part) => {
        const [, name, relation, amount] = /^([^<>=]+?)\s*(<=|>=)\s*(\S+)$/.exec(part) ?? [];
        if (!name) throw new Error(`'${part}' is no bound; write NAME<=NUMBER or NAME>=NUMBER.`);
        if (!names.has(name))
          throw new Error(`Nothing is measured as '${name}'. ${nearest(name, [...names.keys()])}`);
        const bound = Number(amount);
        if (!Number.isFinite(bound)) throw new Error(`'${amount}' is no number, in '${part}'.`);
        return { column: names.get(name), relation, bound };
      });
  }

  function nearest(name, known) {
    const distance = (a, b) => {
      let before = [...Array(b.length + 1).keys()];
      for (let i = 1; i <= a.length; i++) {
        const now = [i];
        for (let j = 1; j <= b.length; j++) {
          now.push(Math.min(before[j] + 1, now[j - 1] + 1, before[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1)));
        }
        before = now;
      }
      return before[b.length];
    };
    const best = known.map((other) => [distance(name, other), other]).sort((a, b) => a[0] - b[0])[0];
    const close = best && best[0] <= Math.max(2, name.length / 3);
    return close ? `Did you mean '${best[1]}'?` : `There are: ${objectiveKeys.join(", ")} and numeric genes.`;
  }

  function filter() {
    const said = byId("where-said");
    const where = byId("where");
    let bounds = [];
    try {
      bounds = constraints(S.where);
      said.className = "soft";
      where.removeAttribute("aria-invalid");
    } catch (error) {
      said.textContent = error.message;
      said.className = "wrong";
      where.setAttribute("aria-invalid", "true");
      bounds = null;
    }
    const brushed = Object.entries(S.brush).map(([key, ranges]) => [scale(key).at, ranges]);
    let left = 0;
    for (let row = 0; row < count; row++) {
      keeps[row] = Number(
        (bounds ?? []).every(({ column: c, relation, bound }) => {
          const value = c.values[row];
          return typeof value === "number" && (relation === "<=" ? value <= bound : value >= bound);
        }),
      );
      inBrush[row] = Number(
        brushed.every(([at, ranges]) => ranges.some(([a, b]) => at(row) >= a && at(row) <= b)),
      );
      left += visible(row);
    }
    if (bounds) {
      said.textContent =
        left === count
          ? `all ${count.toLocaleString("en-US")} candidates`
          : `${left.toLocaleString("en-US")} of ${count.toLocaleString("en-US")} candidates, ${all.front.filter(visible).length} of the front`;
    }
  }

  // ---------------------------------------------------------------- decisions

  /** Losses of the rows, scaled to the range of the rows: 0 the best, 1 the worst, as `decision.scaled`. */
  function scaled(rows) {
    const parts = objectives.map(({ key, sense }) => {
      const values = rows.map((row) => (sense === "maximize" ? -1 : 1) * column(key).values[row]);
      const low = Math.min(...values);
      const span = Math.max(...values) - low;
      return values.map((v) => (span > 0 ? (v - low) / span : 0));
    });
    return rows.map((_, i) => parts.map((part) => part[i]));
  }

  /** The row that weights choose, as `compromise` and `asf` of `moosearch.pareto`; undefined of none. */
  function weighted(rows, weights, rule) {
    const sum = weights.reduce((a, b) => a + b, 0);
    if (!rows.length || !sum) return undefined;
    const values = scaled(rows).map((losses) => {
      const shares = losses.map((loss, j) => (loss * weights[j]) / sum);
      return rule === "asf"
        ? Math.max(...shares) + 1e-3 * shares.reduce((a, b) => a + b, 0)
        : Math.hypot(...shares);
    });
    return rows[values.indexOf(Math.min(...values))];
  }

  const chosen = () => weighted(all.front.filter(visible), S.weights, S.rule);
  const member = (row) => data.confirmation?.members.find((m) => m.id === all.id[row] && m.trainings);

  /** What a confirmation says of a candidate: [word, class of the badge]. */
  function verdict(row) {
    const found = member(row);
    if (!data.confirmation || all.state[row] !== FRONT) return null;
    if (!found) return ["not confirmed", "plain"];
    if (!found.standing.stays) return ["leaves the front when confirmed", "bad"];
    if (found.checks.length) return ["confirmed, failed a check", "warn"];
    if (found.standing.probability === null) return ["confirmed once, noise unknown", "plain"];
    return ["confirmed: stays", "good"];
  }

  const badge = (row) => {
    const said = verdict(row);
    return said && el("span", { class: `badge ${said[1]}`, text: said[0] });
  };

  function values(row) {
    const list = el("dl", { class: "values" });
    for (const { key } of objectives) {
      list.append(
        el("div", {}, el("dt", { text: key }), el("dd", { text: number(column(key).values[row]) })),
      );
    }
    return list;
  }

  function pinButton(row, word = "Pin") {
    const pinned = S.pins.includes(all.id[row]);
    return el("button", {
      type: "button",
      "aria-pressed": String(pinned),
      "data-pin": all.id[row],
      text: pinned ? "Pinned" : word,
      onclick: () => pin(all.id[row]),
    });
  }

  function drawDecisions() {
    const groups = new Map();
    for (const { rule, row, why } of data.decisions) {
      if (!groups.has(row)) groups.set(row, []);
      groups.get(row).push({ rule, why });
    }
    const meaning = (rule) =>
      Object.entries(data.rules).find(([known]) => known.split(":")[0] === rule.split(":")[0])?.[1];
    const cards = [...groups].map(([row, rules]) => {
      // What the reasons of a candidate end with is how it compares, whatever the rule: said once.
      const ends = rules.map(({ why }) => why.slice(why.lastIndexOf("; ") + 2));
      const end = ends.every((other) => other === ends[0]) ? ends[0] : "";
      const start = (why) => (end && why !== end ? why.slice(0, -end.length).replace(/; $/, "") : why);
      return el(
        "article",
        { class: `pick${visible(row) ? "" : " out"}`, "data-id": all.id[row] },
        el("header", {}, el("span", { class: "id", text: all.id[row] }), badge(row), pinButton(row)),
        values(row),
        end ? el("p", { class: "compared", text: end }) : null,
        el(
          "ul",
          { class: "why" },
          ...rules.map(({ rule, why }) =>
            el("li", {}, el("b", { text: rule, title: meaning(rule) }), ` ${start(why)}`),
          ),
        ),
        visible(row) ? null : el("p", { class: "wrong", text: "filtered out" }),
      );
    });
    byId("picks").replaceChildren(
      ...(cards.length
        ? cards
        : [
            el("p", {
              class: "hint",
              text: "The front is still empty: no candidate completed and kept the constraints.",
            }),
          ]),
    );
    byId("weights").hidden = !all.front.length;
    drawWeighted();
  }

  function drawWeighted() {
    const sum = S.weights.reduce((a, b) => a + b, 0);
    const shares = S.weights.map((w) => (sum ? w / sum : 0));
    for (const input of document.querySelectorAll("[data-weight]")) {
      input.value = S.weights[input.dataset.weight];
      input.nextElementSibling.textContent = `${Math.round(100 * shares[input.dataset.weight])} %`;
    }
    byId("rule").value = S.rule;
    const row = chosen();
    const where = byId("weighted");
    if (row === undefined) {
      where.replaceChildren(
        el("p", {
          class: "hint",
          text: sum ? "No member of the front passes the filters." : "Give at least one objective a weight.",
        }),
      );
      return;
    }
    const rule = `${S.rule}:${objectives
      .map(({ key }, j) => `${key}=${S.weights[j]}`)
      .filter((_, j) => S.weights[j])
      .join(",")}`;
    where.replaceChildren(
      el(
        "article",
        { class: "pick", "data-id": all.id[row] },
        el("header", {}, el("span", { class: "id", text: all.id[row] }), badge(row), pinButton(row)),
        values(row),
        command(`moosearch front ${data.folder} --pick ${rule}`),
      ),
    );
  }

  function command(words) {
    const button = el("button", {
      type: "button",
      class: "copy",
      text: "Copy",
      "aria-label": `Copy: ${words}`,
    });
    button.addEventListener("click", async () => {
      await Page.copy(words);
      button.textContent = "Copied";
      setTimeout(() => {
        button.textContent = "Copy";
      }, 1500);
    });
    return el("div", { class: "command" }, el("code", { text: words, tabindex: "0" }), button);
  }

  // ---------------------------------------------------------------- scatter

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
    const quick = (which) => (which.length > MANY && webgl() ? { type: "scattergl" } : {});
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
          showscale: colored.some((v) => v !== null),
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

  let hasWebgl;
  function webgl() {
    hasWebgl ??= Boolean(document.createElement("canvas").getContext("webgl"));
    return hasWebgl;
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

  function pin(id) {
    const at = S.pins.indexOf(id);
    if (at >= 0) S.pins.splice(at, 1);
    else S.pins.push(id);
    if (S.pins.length > MOST_PINS) S.pins.shift();
    update("pins");
  }

  // ---------------------------------------------------------------- pinned ones side by side

  function drawCompare() {
    const where = byId("compare");
    const rows = S.pins.map((id) => rowOf.get(id));
    if (!rows.length) {
      where.replaceChildren(el("p", { class: "hint", text: "Nothing is pinned yet." }));
      return;
    }
    const line = (head, cells, differs = false, mark = []) =>
      el(
        "tr",
        { class: differs ? "differs" : false },
        el("th", { scope: "row", text: head }),
        ...cells.map((cell, i) => el("td", { class: mark[i] ? "best" : false }, cell)),
      );
    const part = (name) => el("tr", { class: "part" }, el("th", { colspan: rows.length + 1, text: name }));
    const body = [part("objectives, as the search estimated them")];
    for (const { key, sense } of objectives) {
      const found = rows.map((row) => column(key).values[row]);
      const known = found.filter((v) => typeof v === "number");
      const best = sense === "maximize" ? Math.max(...known) : Math.min(...known);
      const cells = rows.map((row) => number(column(key).values[row]) + interval(key, row));
      body.push(
        line(
          `${key} ${sense === "maximize" ? "↑" : "↓"}`,
          cells,
          false,
          found.map((v) => rows.length > 1 && v === best),
        ),
      );
    }
    if (data.confirmation) {
      body.push(part("confirmed on test images, mean ± standard deviation over trainings"));
      for (const key of data.confirmation.keys) {
        body.push(
          line(
            key,
            rows.map((row) => plusminus(member(row)?.values[key])),
          ),
        );
      }
      body.push(
        line(
          "verdict",
          rows.map((row) => badge(row) ?? "–"),
        ),
      );
    }
    body.push(part("recipe; what differs is marked"));
    const active = genes.filter((g) => rows.some((row) => g.values[row] !== null));
    const differing = (g) => new Set(rows.map((row) => g.values[row])).size > 1;
    for (const g of [...active.filter(differing), ...active.filter((g) => !differing(g))]) {
      const head = line(
        g.name,
        rows.map((row) => text(g, row) || "–"),
        differing(g) && rows.length > 1,
      );
      head.firstChild.title = g.path;
      body.push(head);
    }
    body.push(part("how it was found"));
    body.push(
      line(
        "status",
        rows.map((row) => all.states[all.state[row]]),
      ),
    );
    body.push(
      line(
        "generation",
        rows.map((row) => String(all.generation[row])),
      ),
    );
    if (all.seconds.total)
      body.push(
        line(
          "seconds",
          rows.map((row) => number(all.seconds.total[row])),
        ),
      );
    if (rows.some((row) => all.errors[row]))
      body.push(
        line(
          "failure",
          rows.map((row) => (all.errors[row] ?? []).join(": ")),
        ),
      );
    const heads = rows.map((row, i) =>
      el(
        "th",
        { scope: "col" },
        el("span", { class: "id", text: `${i + 1}  ${all.id[row]}` }),
        el("button", {
          type: "button",
          class: "small",
          text: "Unpin",
          "aria-label": `Unpin ${all.id[row]}`,
          onclick: () => pin(all.id[row]),
        }),
      ),
    );
    const exports = rows
      .filter((row) => all.state[row] !== FAILED)
      .map((row) => command(`moosearch export ${data.folder} --pick ${all.id[row]}`));
    where.replaceChildren(
      el(
        "div",
        { class: "scroll", tabindex: "0", role: "group", "aria-labelledby": "compare-title" },
        el(
          "table",
          { class: "compare" },
          el("thead", {}, el("tr", {}, el("td", {}), ...heads)),
          el("tbody", {}, ...body),
        ),
      ),
      ...exports,
    );
  }

  function interval(key, row) {
    const [low, high] = (all.intervals[key] ?? []).map((end) => end[row]);
    const deviation = all.deviations[key]?.[row];
    if (typeof deviation === "number") return ` ± ${number(deviation)}`;
    return typeof low === "number" ? ` (${low.toFixed(3)} to ${high.toFixed(3)})` : "";
  }

  function plusminus(spread) {
    if (!spread) return "–";
    return spread[1] === null
      ? number(spread[0])
      : `${number(spread[0])} ± ${Number(spread[1].toPrecision(2))}`;
  }

  // ---------------------------------------------------------------- parallel coordinates

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

  function parallel() {
    const where = byId("parallel");
    if (!webgl()) {
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

  // ---------------------------------------------------------------- table

  const shownColumns = [...columns.values()].filter((c) => c.values.some((v) => v !== null));
  const words = all.id.map((id, row) =>
    [
      id,
      all.states[all.state[row]],
      ...genes.filter((g) => g.labels).map((g) => text(g, row)),
      ...(all.errors[row] ?? []),
    ]
      .join(" ")
      .toLowerCase(),
  );

  function tableRows() {
    const query = S.q.toLowerCase().split(/\s+/).filter(Boolean);
    const found = [];
    for (let row = 0; row < count; row++) {
      if (
        visible(row) &&
        (!S.status || all.states[all.state[row]] === S.status) &&
        query.every((word) => words[row].includes(word))
      )
        found.push(row);
    }
    const key = S.sort.replace(/^-/, "");
    const way = S.sort.startsWith("-") ? -1 : 1;
    const c = column(key);
    const value =
      key === "id"
        ? (row) => all.id[row]
        : key === "state"
          ? (row) => all.state[row]
          : c?.labels
            ? (row) => (c.values[row] === null ? null : c.labels[c.values[row]])
            : (row) => c.values[row] ?? null;
    if (key) {
      found.sort((a, b) => {
        const [u, v] = [value(a), value(b)];
        if (u === null || v === null) return (u === null) - (v === null);
        return way * (u < v ? -1 : u > v ? 1 : 0) || a - b;
      });
    }
    return found;
  }

  function drawTable() {
    const found = tableRows();
    const pages = Math.max(1, Math.ceil(found.length / PAGE_ROWS));
    S.page = Math.min(S.page, pages);
    const shown = found.slice((S.page - 1) * PAGE_ROWS, S.page * PAGE_ROWS);
    const failed = found.some((row) => all.errors[row]);
    const heading = (key, name, number2, hint) => {
      const [way, arrow] =
        S.sort === key ? ["ascending", " ▲"] : S.sort === `-${key}` ? ["descending", " ▼"] : ["none", ""];
      return el(
        "th",
        { scope: "col", class: number2 ? "n" : false, "aria-sort": way },
        el("button", {
          type: "button",
          class: "sort",
          title: hint ?? false,
          "data-sort": key,
          text: name + arrow,
          onclick: () => sortBy(key),
        }),
      );
    };
    const head = el(
      "tr",
      {},
      heading("id", "id"),
      heading("state", "status"),
      ...shownColumns.map((c) => heading(c.key, c.name, !c.labels, c.key)),
      failed ? el("th", { text: "failure" }) : null,
    );
    const body = shown.map((row) => {
      const pinned = S.pins.includes(all.id[row]);
      return el(
        "tr",
        { "data-id": all.id[row], class: `${pinned ? "pinned " : ""}${all.states[all.state[row]]}` },
        el(
          "th",
          { scope: "row" },
          el("button", {
            type: "button",
            class: "row-pin id",
            "aria-pressed": String(pinned),
            title: pinned ? "Unpin" : "Pin",
            text: all.id[row],
          }),
        ),
        el("td", { text: all.states[all.state[row]] }),
        ...shownColumns.map((c) => el("td", { class: c.labels ? false : "n", text: aligned(c, row) })),
        failed ? el("td", { class: "error", text: (all.errors[row] ?? []).join(": ") }) : null,
      );
    });
    const focused = document.activeElement?.dataset?.sort;
    byId("rows").replaceChildren(el("table", {}, el("thead", {}, head), el("tbody", {}, ...body)));
    if (focused) document.querySelector(`[data-sort="${CSS.escape(focused)}"]`)?.focus();
    byId("count").textContent = `${found.length.toLocaleString("en-US")} of ${count.toLocaleString("en-US")}`;
    const step = (name, to) =>
      el("button", {
        type: "button",
        text: name,
        disabled: to < 1 || to > pages,
        onclick: () => {
          S.page = to;
          update("page");
        },
      });
    byId("pager").replaceChildren(
      ...(pages > 1
        ? [
            step("First", S.page > 1 ? 1 : 0),
            step("Previous", S.page - 1),
            el("span", { class: "soft", text: `page ${S.page} of ${pages}` }),
            step("Next", S.page + 1),
            step("Last", S.page < pages ? pages : 0),
          ]
        : []),
    );
  }

  function sortBy(key) {
    const best = column(key)?.info?.sense === "maximize" ? `-${key}` : key;
    const other = best === key ? `-${key}` : key;
    S.sort = S.sort === best ? other : S.sort === other ? "" : best;
    S.page = 1;
    update("sort");
  }

  function csv() {
    const quoted = (value) => (/[",\n\r]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
    // A spreadsheet takes a text that begins so for a formula.
    const safe = (value) => quoted(/^[=+\-@\t\r]/.test(value) ? `'${value}` : value);
    const cell = (c, row) =>
      c.values[row] === null ? "" : c.labels ? safe(c.labels[c.values[row]]) : String(c.values[row]);
    const lines = tableRows().map((row) => [
      all.id[row],
      all.states[all.state[row]],
      ...shownColumns.map((c) => cell(c, row)),
      safe((all.errors[row] ?? []).join(": ")),
    ]);
    const head = ["id", "status", ...shownColumns.map((c) => safe(c.key)), "failure"];
    return [head, ...lines].map((line) => line.join(",")).join("\r\n") + "\r\n";
  }

  // ---------------------------------------------------------------- wiring

  function controls() {
    for (const select of document.querySelectorAll("[data-axis]")) {
      const groups = new Map();
      for (const c of columns.values()) {
        if (shared(c) && !c.info) continue;
        if (!groups.has(c.group)) groups.set(c.group, el("optgroup", { label: c.group }));
        groups.get(c.group).append(el("option", { value: c.key, text: c.name }));
      }
      select.replaceChildren(...groups.values());
      select.addEventListener("change", () => {
        const axis = select.dataset.axis;
        S[axis] = select.value;
        if (axis !== "c") S[`${axis}log`] = wide(column(select.value));
        update("view");
      });
    }
    for (const box of document.querySelectorAll("[data-log]")) {
      box.addEventListener("change", () => {
        S[`${box.dataset.log}log`] = box.checked;
        update("view");
      });
    }
    const flag = (id, name, what) =>
      byId(id).addEventListener("change", (event) => {
        S[name] = event.target.checked;
        update(what);
      });
    flag("zoom", "near", "view");
    flag("with-confirmed", "confirmed", "view");
    flag("front-only", "only", "axes");
    byId("confirmed-check").hidden = !data.confirmation?.members.some((m) => m.trainings);
    for (const input of document.querySelectorAll("[data-weight]")) {
      input.addEventListener("input", () => {
        S.weights[input.dataset.weight] = Number(input.value);
        update("weights");
      });
    }
    byId("rule").addEventListener("change", (event) => {
      S.rule = event.target.value;
      update("weights");
    });
    byId("filter").addEventListener("submit", (event) => event.preventDefault());
    let later;
    byId("where").addEventListener("input", (event) => {
      Object.assign(S, { where: event.target.value, page: 1 });
      clearTimeout(later);
      later = setTimeout(() => update("filter"), 250);
    });
    byId("reset").addEventListener("click", () => {
      Object.assign(S, { where: "", brush: {}, q: "", status: "", page: 1 });
      update("filter");
    });
    byId("unbrush").addEventListener("click", () => {
      S.brush = {};
      update("axes");
    });
    byId("query").addEventListener("input", (event) => {
      S.q = event.target.value;
      S.page = 1;
      update("table");
    });
    byId("status").append(
      ...all.states
        .filter((_, n) => all.state.includes(n))
        .map((name) => el("option", { value: name, text: name })),
    );
    byId("status").addEventListener("change", (event) => {
      S.status = event.target.value;
      S.page = 1;
      update("table");
    });
    byId("csv").addEventListener("click", () =>
      Page.download(`${data.name.replace(/[^\w.-]+/g, "_")}.csv`, csv(), "text/csv"),
    );
    byId("rows").addEventListener("click", (event) => {
      const row = event.target.closest("tr[data-id]");
      if (row && !String(getSelection())) pin(row.dataset.id);
    });
  }

  /** Write the state into the controls, which a reload or another view may have changed. */
  function show() {
    for (const axis of ["x", "y", "c"]) document.querySelector(`[data-axis="${axis}"]`).value = S[axis];
    for (const axis of ["x", "y"]) {
      const box = document.querySelector(`[data-log="${axis}"]`);
      box.checked = S[`${axis}log`];
      box.disabled = Boolean(column(S[axis]).labels);
    }
    byId("zoom").checked = S.near;
    byId("with-confirmed").checked = S.confirmed;
    byId("front-only").checked = S.only;
    if (byId("where").value !== S.where) byId("where").value = S.where;
    if (byId("query").value !== S.q) byId("query").value = S.q;
    byId("status").value = S.status;
    byId("reset").disabled = !(S.where || Object.keys(S.brush).length || S.q || S.status);
    byId("unbrush").disabled = !Object.keys(S.brush).length;
  }

  /** Draw again what a change of `what` touches. */
  function update(what) {
    const touches = (...names) => names.includes(what);
    if (touches("filter", "brush", "axes")) filter();
    show();
    writeState();
    if (touches("filter", "brush", "axes", "pins")) drawDecisions();
    else if (touches("weights")) drawWeighted();
    if (touches("pins")) drawCompare();
    if (touches("axes")) drawDimensions();
    if (touches("filter", "brush", "axes", "pins", "view", "weights")) Page.redraw(byId("scatter"));
    if (touches("axes")) widen();
    if (touches("filter", "axes", "view")) Page.redraw(byId("parallel"));
    if (touches("filter", "brush", "axes", "pins", "page", "sort", "table")) drawTable();
  }

  readState();
  controls();
  filter();
  show();
  drawDecisions();
  drawCompare();
  drawDimensions();
  drawTable();
  const scatter = byId("scatter");
  const drawn = Page.plot(scatter, drawnScatter);
  scatter.on("plotly_hover", showTip);
  scatter.on("plotly_unhover", () => {
    tip.hidden = true;
  });
  scatter.on("plotly_click", (event) => {
    const row = event.points[0].customdata;
    if (typeof row === "number") pin(all.id[row]);
  });
  widen();
  Page.later(byId("parallel"), parallel);
  Evidence(data, known, badge);
  addEventListener(
    "scroll",
    () => {
      tip.hidden = true;
    },
    { passive: true },
  );
  return drawn;
});
