"use strict";
// What the filters do not change: confirmation, curves, pictures, importance and make-up of the front, history.
const Evidence = (data, known, badge) => {
  const { el, label, number } = Page;
  const { column, genes, shared, scale, objectiveKeys, rowOf, INFEASIBLE } = known;
  const all = data.candidates;
  const byId = (id) => document.getElementById(id);
  const plotLater = (element, build) => Page.later(element, () => Page.plot(element, build));

  function drawHistory() {
    const rows = data.history;
    const where = byId("history");
    if (!rows.length) {
      where.replaceChildren(el("p", { class: "hint", text: "Nothing is evaluated yet." }));
      return;
    }
    plotLater(where, (c) => ({
      traces: [
        {
          type: "scatter",
          mode: rows.length > 60 ? "lines" : "lines+markers",
          x: rows.map((r) => r.generation),
          y: rows.map((r) => r.hypervolume),
          line: { color: c.series[0], width: 2, shape: "hv" },
          customdata: rows.map((r) => [r.evaluations, r.front, r.failed]),
          hovertemplate:
            "generation %{x}: %{y:.4f}<br>%{customdata[0]} evaluated, %{customdata[1]} on the front, %{customdata[2]} failed<extra></extra>",
        },
      ],
      layout: {
        xaxis: {
          title: { text: "generation" },
          ...(rows.length < 12 ? { tickvals: rows.map((r) => r.generation) } : {}),
          zeroline: false,
        },
        yaxis: { title: { text: "hypervolume" }, zeroline: false },
        hovermode: "closest",
        margin: { l: 8, r: 12, t: 8, b: 8 },
      },
    }));
  }

  function drawConfirmation() {
    const found = data.confirmation;
    if (!found) return;
    const judged = found.members.filter((m) => m.trainings);
    const where = byId("confirmation");
    const stays = judged.filter((m) => m.standing.stays).length;
    const doubtful = judged.filter((m) => m.checks.length).length;
    const gone = judged.filter((m) => m.standing.overestimated).length;
    where.append(
      el("h3", { text: "Confirmed values" }),
      el("p", {
        text:
          `${judged.length} of ${Page.counted(all.front.length, "member")} of the front ${judged.length === 1 ? "was" : "were"} trained again (${found.done} of ${Page.counted(found.planned, "training")} done, ${found.failed} failed). ` +
          `${stays} of them ${stays === 1 ? "stays" : "stay"} on the front within noise; ${doubtful} failed a check for masked gradients.` +
          (gone ? ` ${gone} ${gone === 1 ? "leaves" : "leave"} it because their robustness was overestimated.` : ""),
      }),
    );
    if (!judged.length) return;
    const plots = el("div", { class: "plots" });
    where.append(plots);
    const draw = [];
    for (const key of found.keys) {
      const place = el("div", {
        class: "plot",
        style: `height: ${120 + 42 * judged.length}px; min-height: 0`,
        role: "img",
        "aria-label": `${key}: estimates and confirmed values; the table below has them`,
      });
      plots.append(el("figure", {}, el("figcaption", { text: key.replaceAll("_", " ") }), place));
      draw.push([place, key]);
    }
    const names = judged.map((m) => m.id);
    for (const [place, key] of draw) {
      plotLater(place, (c) => ({
        traces: [
          {
            type: "scatter",
            mode: "lines",
            x: judged.flatMap((m) => [m.estimate[key], m.values[key][0], null]),
            y: judged.flatMap((m) => [m.id, m.id, null]),
            line: { color: c.pale, width: 2 },
            hoverinfo: "skip",
            showlegend: false,
          },
          {
            type: "scatter",
            mode: "markers",
            name: "search's estimate",
            x: judged.map((m) => m.estimate[key]),
            y: names,
            marker: { symbol: "circle-open", size: 11, color: c.soft, line: { width: 2 } },
            hovertemplate: "%{y}: estimated %{x:.4g}<extra></extra>",
          },
          {
            type: "scatter",
            mode: "markers",
            name: "confirmed, ± standard deviation",
            x: judged.map((m) => m.values[key][0]),
            y: names,
            error_x: {
              type: "data",
              array: judged.map((m) => m.values[key][1] ?? 0),
              color: c.series[0],
              thickness: 1.6,
              width: 5,
            },
            marker: { size: 11, color: c.series[0] },
            hovertemplate: "%{y}: confirmed %{x:.4g}<extra></extra>",
          },
        ],
        layout: {
          xaxis: { zeroline: false },
          yaxis: {
            type: "category",
            autorange: "reversed",
            tickfont: { family: "ui-monospace, Menlo, Consolas, monospace", size: 12 },
          },
          legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 },
          margin: { l: 8, r: 12, t: 8, b: 8 },
        },
      }));
    }
    const weakest = (m) =>
      Math.min(
        ...found.suite
          .filter(([name, , isAttack]) => isAttack && m.values[name])
          .map(([name]) => m.values[name][0]),
      );
    const rows = judged.map((m) =>
      el(
        "tr",
        {},
        el(
          "th",
          { scope: "row" },
          el("span", { class: "id", text: m.id }),
          el("div", {}, badge(rowOf.get(m.id))),
        ),
        el("td", {
          class: "n",
          text: m.standing.probability === null ? "–" : m.standing.probability.toFixed(2),
        }),
        el("td", { class: "n", text: String(m.images) }),
        ...found.suite.map(([name, , isAttack]) =>
          el("td", {
            class: isAttack && m.values[name]?.[0] === weakest(m) ? "n strongest" : "n",
            text: m.values[name] ? m.values[name][0].toFixed(3) : "–",
          }),
        ),
      ),
    );
    const threat = judged[0].threats.map(([norm, eps]) => `${norm}, eps ${number(eps)}`).join("; ");
    where.append(
      el("h3", { text: "Under each attack" }),
      el("p", {
        class: "soft",
        text: `Mean accuracy on test images over trainings (${threat}). The strongest attack is marked. Worst case: right under every attack at once.`,
      }),
      el(
        "div",
        { class: "scroll", tabindex: "0", role: "group", "aria-label": "Accuracy under each attack" },
        el(
          "table",
          { class: "dense" },
          el(
            "thead",
            {},
            el(
              "tr",
              {},
              el("th", { text: "id" }),
              el("th", {
                class: "n",
                text: "on the front",
                title: "Probability of being non-dominated, given the noise of the trainings",
              }),
              el("th", { class: "n", text: "images" }),
              ...found.suite.map(([, label]) => el("th", { class: "n", text: label })),
            ),
          ),
          el("tbody", {}, ...rows),
        ),
      ),
    );
    const illusions = judged
      .filter((m) => m.standing.overestimated)
      .map((m) => el("li", {}, el("span", { class: "id", text: m.id }), `: ${found.overestimated}`));
    const doubts = judged.flatMap((m) =>
      m.checks.map(([name, times, said]) =>
        el(
          "li",
          {},
          el("span", { class: "id", text: m.id }),
          ` failed ${name} in ${times} of ${m.trainings} trainings: ${said}`,
        ),
      ),
    );
    const failures = found.members.flatMap((m) =>
      m.errors.map((error) =>
        el("li", {}, el("span", { class: "id", text: m.id }), ` a training failed: ${error}`),
      ),
    );
    const said = [...illusions, ...doubts, ...failures];
    if (said.length) where.append(el("h3", { text: "Doubts" }), el("ul", { class: "doubts" }, ...said));
  }

  function drawCurves() {
    if (!data.curves.length) return;
    const plots = el("div", { class: "plots" });
    const curveOf = { eps: "eps", steps: "number of steps" };
    byId("curves").append(
      el("h3", { text: "Robustness curves" }),
      el("p", { class: "soft", text: `${data.curves[0].said}. Bars are 95 % intervals for these images.` }),
      plots,
    );
    for (const [kind, name] of Object.entries(curveOf)) {
      const found = data.curves.filter((each) => each.curve === kind);
      if (!found.length) continue;
      const place = el("div", { class: "plot", role: "img", "aria-label": `Accuracy against ${name}` });
      plots.append(
        el(
          "figure",
          {},
          el("figcaption", {
            text: kind === "eps" ? "accuracy against the radius" : "accuracy against the number of steps",
          }),
          place,
        ),
      );
      const used = data.curves.find((each) => each.eps !== null)?.eps;
      plotLater(place, (c) => ({
        traces: found.map((each, i) => ({
          type: "scatter",
          mode: "lines+markers",
          name: label(each.candidate),
          x: each.x,
          y: each.accuracy,
          line: { color: c.series[i % 7], width: 2 },
          marker: { symbol: i, size: 7 },
          error_y: {
            type: "data",
            symmetric: false,
            array: each.high.map((v, k) => v - each.accuracy[k]),
            arrayminus: each.low.map((v, k) => each.accuracy[k] - v),
            thickness: 1,
            width: 0,
          },
          hovertemplate: `${kind} %{x}: %{y:.3f}`,
        })),
        layout: {
          xaxis: {
            title: { text: kind === "eps" ? "radius eps" : name },
            type: kind === "steps" ? "log" : "linear",
            zeroline: false,
            ...(kind === "steps" ? { tickvals: found[0].x } : {}),
          },
          yaxis: { range: [-0.02, 1.02], title: { text: "accuracy" }, tickformat: ".0%", zeroline: false },
          legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 },
          margin: { l: 8, r: 12, t: 8, b: 8 },
          shapes:
            kind === "eps" && used
              ? [
                  {
                    type: "line",
                    x0: used,
                    x1: used,
                    y0: 0,
                    y1: 1,
                    yref: "paper",
                    line: { color: c.soft, dash: "dot", width: 1 },
                  },
                ]
              : [],
        },
      }));
    }
  }

  function drawImportance() {
    const found = data.importance;
    const where = byId("importance");
    where.append(el("h3", { text: "Which genes matter" }));
    if (!found) {
      where.append(
        el("p", {
          class: "hint",
          text: "Computed when the search has ended, from 10 candidates that completed.",
        }),
      );
      return;
    }
    const name = (path) => column(path)?.name ?? path;
    const most = objectiveKeys.map((_, j) => Math.max(1e-9, ...found.genes.map((g) => g[2 + j] ?? 0)));
    const weight = (g) => Math.max(...objectiveKeys.map((_, j) => (g[2 + j] ?? 0) / most[j]));
    const rows = [...found.genes]
      .sort((a, b) => weight(b) - weight(a))
      .map((g) =>
        el(
          "tr",
          {},
          el(
            "th",
            { scope: "row", title: g[0] },
            name(g[0]),
            g[1]
              ? el("span", {
                  class: "soft",
                  text: ` if ${g[1]
                    .split(", ")
                    .at(-1)
                    .replace(/^.*\.(?=[^.=]+=)/, "")}`,
                })
              : null,
          ),
          ...objectiveKeys.map((_, j) => {
            const value = g[2 + j];
            const bar = el("span", { class: "bar-of" });
            bar.style.width = `${Math.max(0, ((value ?? 0) / most[j]) * 100)}%`;
            return el(
              "td",
              { class: found.believed[j] ? "importance" : "importance doubted" },
              bar,
              el("span", { text: value === null ? "–" : value.toFixed(2).replace(/^-0\.00$/, "0.00") }),
            );
          }),
        ),
      );
    where.append(
      el(
        "div",
        { class: "scroll", tabindex: "0", role: "group", "aria-label": "Importance of genes" },
        el(
          "table",
          { class: "dense" },
          el(
            "thead",
            {},
            el(
              "tr",
              {},
              el("th", { text: "gene" }),
              ...objectiveKeys.map((key, j) =>
                el("th", { text: found.believed[j] ? key : `${key} (doubtful)` }),
              ),
            ),
          ),
          el("tbody", {}, ...rows),
        ),
      ),
      el("ul", { class: "notes" }, ...found.notes.map((note) => el("li", { text: note }))),
      el("h3", { text: "What can be told from noise" }),
      el("ul", { id: "findings" }, ...found.findings.map((line) => el("li", { text: line }))),
    );
  }

  /** Where the front's values of every gene lie among all that were tried. */
  function drawGenes() {
    const varying = genes.filter((g) => !shared(g));
    if (!varying.length || !all.front.length) return;
    const tried = all.id.map((_, row) => row).filter((row) => all.state[row] <= INFEASIBLE);
    const cards = varying.map((g) => {
      const [here, there] = [all.front, tried].map((rows) => rows.filter((row) => g.values[row] !== null));
      const head = el(
        "figcaption",
        {},
        el("b", { text: g.name, title: g.path }),
        ` ${here.length} of the front, ${there.length} of all`,
      );
      return el("figure", { class: "gene" }, head, g.labels ? shares(g, here, there) : strip(g, here, there));
    });
    byId("genes").append(
      el("h3", { text: "What the front is made of" }),
      el("p", {
        class: "soft",
        text: "Values of each gene: of all that completed (gray), of the front (blue).",
      }),
      el("div", { class: "genes" }, ...cards),
    );
  }

  function shares(g, here, there) {
    const bars = el("div", { class: "shares" });
    g.labels.forEach((name, index) => {
      const [front, tried] = [here, there].map(
        (rows) => rows.filter((row) => g.values[row] === index).length / Math.max(1, rows.length),
      );
      const bar = (share, kind) => {
        const made = el("span", { class: `share ${kind}` });
        made.style.width = `${100 * share}%`;
        return made;
      };
      bars.append(
        el("span", { class: "name", text: name, title: name }),
        el("span", { class: "pair" }, bar(tried, "tried"), bar(front, "front")),
        el("span", { class: "soft", text: `${Math.round(100 * tried)} → ${Math.round(100 * front)} %` }),
      );
    });
    return bars;
  }

  function strip(g, here, there) {
    const { at } = scale(g.key);
    const low = Math.min(...there.map(at));
    const span = Math.max(...there.map(at)) - low || 1;
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", "0 0 300 30");
    svg.setAttribute("aria-hidden", "true");
    const few = there.filter((_, i) => i % Math.ceil(there.length / 400) === 0);
    for (const [rows, y, r, kind] of [
      [few, 8, 2.2, "tried"],
      [here, 22, 3.4, "front"],
    ]) {
      for (const row of rows) {
        const dot = document.createElementNS("http://www.w3.org/2000/svg", "circle");
        for (const [key, value] of Object.entries({
          cx: 5 + (290 * (at(row) - low)) / span,
          cy: y,
          r,
          class: kind,
        }))
          dot.setAttribute(key, value);
        svg.append(dot);
      }
    }
    const ends = [Math.min, Math.max].map((end) => number(end(...there.map((row) => g.values[row]))));
    return el(
      "div",
      {},
      svg,
      el("div", { class: "ends soft" }, el("span", { text: ends[0] }), el("span", { text: ends[1] })),
    );
  }

  function drawPictures() {
    if (!data.pictures.length) return;
    byId("pictures").append(
      el("h3", { text: "Images under attack" }),
      el(
        "div",
        { class: "plots" },
        ...data.pictures.map(({ candidate, source }) =>
          el(
            "figure",
            {},
            el("figcaption", {}, el("span", { class: "id", text: candidate })),
            el("img", {
              src: source,
              alt: `Images as they are, perturbed, and their difference: ${candidate}`,
            }),
          ),
        ),
      ),
    );
  }

  drawConfirmation();
  drawCurves();
  drawPictures();
  Page.later(byId("importance"), () => {
    drawImportance();
    drawGenes();
  });
  drawHistory();
};
