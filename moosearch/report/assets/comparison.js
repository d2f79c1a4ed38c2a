"use strict";
// The page of a comparison. A group has one color; hovering tells of the campaign.
Page.start((data) => {
  const { label } = Page;
  const byId = (id) => document.getElementById(id);
  const groups = Object.keys(data.groups);
  const objective = (key) => data.objectives.find((o) => o.key === key);
  const markers = ["circle", "square", "triangle-up", "diamond", "triangle-down", "pentagon", "x"];
  const color = (c, group) => c.series[groups.indexOf(group) % c.series.length];
  const marker = (group) => {
    const index = groups.indexOf(group);
    return markers[(index + Math.floor(index / markers.length)) % markers.length];
  };
  const faint = (text, alpha) => {
    const value = parseInt(text.slice(1), 16);
    return `rgba(${value >> 16}, ${(value >> 8) & 255}, ${value & 255}, ${alpha})`;
  };
  const counted = (group) => {
    const count = data.groups[group].length;
    return label(count > 1 ? `${group} (${count} campaigns)` : group);
  };
  const legend = { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 };

  /** Costs that span more than a factor of ten are drawn on a logarithmic axis. */
  function axis(key, values) {
    const info = objective(key);
    const low = Math.min(...values);
    const wide = info.cost && low > 0 && Math.max(...values) / low >= 10;
    return { title: { text: label(info.label) }, type: wide ? "log" : "linear", ...(wide ? { dtick: "D2" } : {}) };
  }

  // ------------------------------------------------------------------------------------------------ fronts

  if (byId("fronts")) {
    const keys = data.objectives.map((o) => o.key);
    const costs = data.objectives.filter((o) => o.sense === "minimize").map((o) => o.key);
    const gains = data.objectives.filter((o) => o.sense === "maximize").map((o) => o.key);
    const chosen = { x: costs[0] ?? keys[0] };
    chosen.y = [...gains].reverse().find((key) => key !== chosen.x) ?? keys.find((key) => key !== chosen.x);
    for (const name of ["x", "y"]) {
      const select = byId(`front-${name}`);
      for (const key of keys) select.add(new Option(key.replaceAll("_", " "), key, false, key === chosen[name]));
      select.addEventListener("change", () => { chosen[name] = select.value; Page.redraw(byId("fronts")); });
    }
    byId("front-merged").addEventListener("change", () => Page.redraw(byId("fronts")));
    Page.plot(byId("fronts"), (c) => {
      const only = byId("front-merged").checked;
      const seen = new Set();
      const traces = [];
      const rings = { x: [], y: [] };
      const values = { x: [], y: [] };
      for (const front of data.fronts) {
        const rows = front.ids.map((_, row) => row).filter((row) => !only || front.merged[row]);
        const at = (name) => rows.map((row) => front.values[chosen[name]][row]);
        for (const name of ["x", "y"]) {
          values[name].push(...at(name));
          rings[name].push(...rows.filter((row) => front.merged[row]).map((row) => front.values[chosen[name]][row]));
        }
        traces.push({
          type: "scatter", mode: "markers", x: at("x"), y: at("y"), name: counted(front.group),
          legendgroup: front.group, showlegend: !seen.has(front.group),
          marker: { color: color(c, front.group), symbol: marker(front.group), size: 9, opacity: 0.8 },
          text: rows.map((row) => label(`${front.campaign}: ${front.ids[row]}`) + "<br>" +
            label(front.recipes[row]).replaceAll(", ", "<br>")),
          hovertemplate: "%{text}<br>%{x}, %{y}<extra></extra>",
        });
        seen.add(front.group);
      }
      traces.push({
        type: "scatter", mode: "markers", ...rings, name: "on the front of all", hoverinfo: "skip",
        marker: { color: c.ink, symbol: "circle-open", size: 16, line: { width: 1.2 } },
      });
      const layout = { xaxis: axis(chosen.x, values.x), yaxis: axis(chosen.y, values.y), legend, hovermode: "closest" };
      return { traces, layout };
    });
  }

  // ------------------------------------------------------------------------------------------- hypervolume

  const count = (values) => values.map((_, index) => index + 1);
  Page.plot(byId("history"), (c) => {
    const traces = [];
    for (const group of groups) {
      const ink = color(c, group);
      const line = { shape: "hv", color: ink };
      const names = data.groups[group];
      for (const name of names) {
        const values = data.histories[name];
        traces.push({
          type: "scatter", mode: "lines", x: count(values), y: values, legendgroup: group,
          name: counted(group), showlegend: names.length === 1,
          line: { ...line, width: names.length > 1 ? 0.8 : 2 },
          hovertemplate: `${label(name)}: %{y:.4f} after %{x}<extra></extra>`,
        });
      }
      if (!data.bands[group]) continue;
      const [low, middle, high] = data.bands[group];
      const hidden = { type: "scatter", mode: "lines", legendgroup: group, showlegend: false, hoverinfo: "skip" };
      traces.push({ ...hidden, x: count(low), y: low, line: { ...line, width: 0 } });
      traces.push({
        ...hidden, x: count(high), y: high, line: { ...line, width: 0 }, fill: "tonexty", fillcolor: faint(ink, 0.18),
      });
      traces.push({
        type: "scatter", mode: "lines", x: count(middle), y: middle, legendgroup: group, name: counted(group),
        line: { ...line, width: 2.4 }, hovertemplate: `median of ${label(group)}: %{y:.4f}<extra></extra>`,
      });
    }
    // What is beyond the first quarter of the evaluations is what one looks at.
    const all = Object.values(data.histories).filter((values) => values.length);
    const top = Math.max(0, ...all.map((values) => values.at(-1)));
    const early = Math.min(top, ...all.map((values) => values[Math.floor(values.length / 4)]));
    const range = [Math.max(0, early - 0.35 * (top - early) - 0.02), Math.min(1, top + 0.02)];
    const layout = {
      xaxis: { title: { text: "candidates evaluated" } },
      yaxis: { title: { text: "hypervolume (higher is better)" }, range },
      legend,
    };
    return { traces, layout };
  });

  // -------------------------------------------------------------------------------------------- attainment

  if (byId("attainment")) {
    const select = byId("attainment-pair");
    data.attainment.forEach((pair, index) => {
      select.add(new Option(`${pair.y} by ${pair.x}`.replaceAll("_", " "), String(index)));
    });
    select.value = String(data.attainment.length - 1);
    select.addEventListener("change", () => Page.redraw(byId("attainment")));
    Page.plot(byId("attainment"), (c) => {
      const pair = data.attainment[Number(select.value)];
      const traces = [];
      const values = { x: [], y: [] };
      for (const [group, lines] of Object.entries(pair.groups)) {
        const ink = color(c, group);
        const [best, middle, worst] = lines;
        for (const line of lines) { values.x.push(...(line[0] ?? [])); values.y.push(...(line[1] ?? [])); }
        const hidden = { type: "scatter", mode: "lines", legendgroup: group, showlegend: false, hoverinfo: "skip" };
        if (best[0]?.length && worst[0]?.length) {
          traces.push({
            ...hidden, x: [...best[0], ...[...worst[0]].reverse()], y: [...best[1], ...[...worst[1]].reverse()],
            fill: "toself", fillcolor: faint(ink, 0.18), line: { width: 0.8, color: ink },
          });
        }
        traces.push({
          type: "scatter", mode: "lines", x: middle[0] ?? [], y: middle[1] ?? [], legendgroup: group,
          name: counted(group), line: { width: 2.4, color: ink },
          hovertemplate: `attained by half of ${label(group)}: %{x}, %{y}<extra></extra>`,
        });
      }
      return { traces, layout: { xaxis: axis(pair.x, values.x), yaxis: axis(pair.y, values.y), legend } };
    });
  }
});
