"use strict";
// The report of a campaign: decisions, pinned candidates, controls. Every change goes through `update`.
Page.start((data) => {
  const { el, number } = Page;
  const all = data.candidates;
  const byId = (id) => document.getElementById(id);
  const known = Columns(data);
  const { columns, column, genes, text, wide, shared, objectives, rowOf, FRONT, FAILED } = known;
  const view = View(data, known);
  const { S, visible, chosen, member } = view;
  const scatter = Scatter(data, known, view);
  const parallel = Parallel(data, known, view, update);
  const table = Table(data, known, view, update);

  // ---------------------------------------------------------------- decisions

  /** What a confirmation says of a candidate: [word, class of the badge]. */
  function verdict(row) {
    const found = member(row);
    if (!data.confirmation || all.state[row] !== FRONT) return null;
    if (!found) return ["not confirmed", "plain"];
    if (found.standing.overestimated) return ["leaves the front: its robustness was overestimated", "bad"];
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
    byId("weights").hidden = !all.front.length || objectives.length < 2;
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
        command(`moosearch export ${data.folder} --pick ${rule}`),
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

  function pin(id) {
    const at = S.pins.indexOf(id);
    if (at >= 0) S.pins.splice(at, 1);
    else S.pins.push(id);
    if (S.pins.length > view.MOST_PINS) S.pins.shift();
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
      Page.download(`${data.name.replace(/[^\w.-]+/g, "_")}.csv`, table.csv(), "text/csv"),
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
    if (touches("filter", "brush", "axes")) view.filter();
    show();
    view.writeState();
    if (touches("filter", "brush", "axes", "pins")) drawDecisions();
    else if (touches("weights")) drawWeighted();
    if (touches("pins")) drawCompare();
    if (touches("axes")) parallel.drawDimensions();
    if (touches("filter", "brush", "axes", "pins", "view", "weights")) Page.redraw(byId("scatter"));
    if (touches("axes")) parallel.widen();
    if (touches("filter", "axes", "view")) Page.redraw(byId("parallel"));
    if (touches("filter", "brush", "axes", "pins", "page", "sort", "table")) table.draw();
  }

  view.readState();
  controls();
  view.filter();
  show();
  drawDecisions();
  drawCompare();
  parallel.drawDimensions();
  table.draw();
  const points = byId("scatter");
  const drawn = Page.plot(points, scatter.drawn);
  points.on("plotly_hover", scatter.showTip);
  points.on("plotly_unhover", scatter.hideTip);
  points.on("plotly_click", (event) => {
    const row = event.points[0].customdata;
    if (typeof row === "number") pin(all.id[row]);
  });
  parallel.widen();
  Page.later(byId("parallel"), parallel.draw);
  Evidence(data, known, badge);
  addEventListener("scroll", scatter.hideTip, { passive: true });
  return drawn;
});
