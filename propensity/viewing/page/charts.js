// The four figures, drawn anew when the frame, the time scale or the field changes.

const WIDTH = 330, HEIGHT = 232, MARGIN = { left: 48, right: 10, top: 8, bottom: 40 };
const speciesColour = (kind) => `var(--s${kind % 5})`;

function panel(name, caption, empty) {
  const figure = vendor.select(`#${name}`);
  figure.select("p").text(caption);
  const place = figure.select("div");
  place.selectAll("*").remove();
  if (empty) {
    place.append("p").attr("class", "empty").text(empty);
    return null;
  }
  return place.append("svg").attr("viewBox", `0 0 ${WIDTH} ${HEIGHT}`).attr("role", "img")
    .attr("aria-label", figure.select("h2").text());
}

function axes(svg, x, y, xLabel, yLabel, ticks = 5) {
  const { axisBottom, axisLeft } = vendor;
  const bottom = HEIGHT - MARGIN.bottom;
  svg.append("g").attr("class", "grid").attr("transform", `translate(${MARGIN.left},0)`)
    .call(axisLeft(y).ticks(5).tickSize(-(WIDTH - MARGIN.left - MARGIN.right)).tickFormat(""));
  svg.append("g").attr("class", "axis").attr("transform", `translate(0,${bottom})`).call(axisBottom(x).ticks(ticks, "~g").tickSize(4));
  svg.append("g").attr("class", "axis").attr("transform", `translate(${MARGIN.left},0)`).call(axisLeft(y).ticks(5, "~g").tickSize(4));
  svg.append("text").attr("class", "label").attr("text-anchor", "middle").attr("x", (MARGIN.left + WIDTH - MARGIN.right) / 2)
    .attr("y", HEIGHT - 5).text(xLabel);
  svg.append("text").attr("class", "label").attr("text-anchor", "middle").attr("transform", "rotate(-90)")
    .attr("x", -(MARGIN.top + bottom) / 2).attr("y", 13).text(yLabel);
}

const horizontal = (scale, domain) => scale(domain, [MARGIN.left, WIDTH - MARGIN.right]);
const vertical = (scale, domain) => scale(domain, [HEIGHT - MARGIN.bottom, MARGIN.top]);

// Names with a sample of their line, in a row above the figure, where no curve can lie under them.
function key(svg, entries) {
  const row = vendor.select(svg.node().parentNode).insert("p", "svg").attr("class", "key");
  for (const { label, colour, mark } of entries) {
    const entry = row.append("span");
    entry.append("i").attr("class", mark || "line").style("background", colour);
    entry.append("span").text(label);
  }
}

function drawScores(data, state) {
  const { scaleLog, scaleLinear, line, area, extent } = vendor;
  const scores = data.scores;
  const svg = panel("scores", scores.caption, scores.curves.length ? "" : scores.missing);
  if (!svg) return;
  const all = scores.curves.flatMap((c) => c.times);
  const [low, high] = extent(all);
  const x = horizontal(scaleLog, low === high ? [low / 3, high * 3] : [low / 1.3, high * 1.3]);
  const least = Math.min(0.2, ...scores.curves.flatMap((c) => c.rho.concat((c.interval || []).flat())).filter(Number.isFinite));
  const y = vertical(scaleLinear, [Math.floor(least * 5) / 5, 1]);
  axes(svg, x, y, `time t (${data.time_unit})`, "ρ", 4);
  svg.append("line").attr("x1", x(data.times[state.time])).attr("x2", x(data.times[state.time])).attr("y1", MARGIN.top)
    .attr("y2", HEIGHT - MARGIN.bottom).attr("stroke", "var(--accent)").attr("stroke-dasharray", "2 3")
    .attr("visibility", data.times[state.time] >= low && data.times[state.time] <= high ? null : "hidden");
  const entries = [];
  let ceiling = false;
  for (const curve of scores.curves) {
    const colour = speciesColour(curve.kind);
    const points = curve.times.map((t, k) => ({ t, rho: curve.rho[k], ceiling: curve.ceiling[k], ends: curve.interval?.[k] }));
    const known = points.filter((p) => Number.isFinite(p.rho));
    const ends = known.filter((p) => p.ends && p.ends.every(Number.isFinite));
    svg.append("path").datum(ends).attr("fill", colour).attr("opacity", 0.2)
      .attr("d", area().x((p) => x(p.t)).y0((p) => y(p.ends[0])).y1((p) => y(p.ends[1])));
    svg.append("g").selectAll("line").data(ends).join("line").attr("x1", (p) => x(p.t)).attr("x2", (p) => x(p.t))
      .attr("y1", (p) => y(p.ends[0])).attr("y2", (p) => y(p.ends[1])).attr("stroke", colour).attr("stroke-width", 1.5);
    svg.append("path").datum(known).attr("fill", "none").attr("stroke", colour).attr("stroke-width", 2)
      .attr("d", line().x((p) => x(p.t)).y((p) => y(p.rho)));
    svg.append("g").selectAll("circle").data(known).join("circle").attr("cx", (p) => x(p.t)).attr("cy", (p) => y(p.rho)).attr("r", 3.4)
      .attr("fill", colour).append("title").text((p) => `${data.species[curve.kind]}, t = ${number(p.t)}: ρ = ${p.rho.toFixed(3)}`);
    const roof = points.filter((p) => Number.isFinite(p.ceiling));
    svg.append("g").selectAll("line").data(roof).join("line").attr("x1", (p) => x(p.t) - 8).attr("x2", (p) => x(p.t) + 8)
      .attr("y1", (p) => y(p.ceiling)).attr("y2", (p) => y(p.ceiling)).attr("stroke", colour).attr("stroke-width", 3).attr("opacity", 0.65);
    entries.push({ label: data.species[curve.kind], colour });
    if (roof.length) ceiling = true;
  }
  if (ceiling) entries.push({ label: "ceiling of the labels", colour: "var(--ceiling)", mark: "roof" });
  key(svg, entries);
}

function drawScatter(data, state) {
  const { scaleLinear, extent } = vendor;
  const frame = data.frames[state.frame];
  const both = frame.fields.predicted && frame.fields.simulated;
  const [p, s] = ["predicted", "simulated"].map((field) => (both ? valuesOf(frame, field, state.time) : []));
  const good = Array.from(frame.types.keys()).filter((i) => Number.isFinite(p[i]) && Number.isFinite(s[i]));
  const svg = panel("scatter", both ? `this frame${atTime(data, state.time)}` : "",
    good.length > 1 ? "" : both ? "Nothing was simulated at this time scale." : frame.fields.simulated ? "No model was given: name one with --model." : "This file holds no simulated propensities to compare with.");
  if (!svg) return;
  const [left, right] = extent(good, (i) => s[i]);
  const [low, high] = extent(good, (i) => p[i]);
  const x = horizontal(scaleLinear, [Math.min(left, low), right]).nice();
  const y = vertical(scaleLinear, [Math.min(left, low), Math.max(high, 0.75 * right)]).nice();
  axes(svg, x, y, `simulated (${data.unit})`, `predicted (${data.unit})`);
  const end = Math.min(x.domain()[1], y.domain()[1]);
  svg.append("line").attr("x1", x(x.domain()[0])).attr("y1", y(x.domain()[0])).attr("x2", x(end)).attr("y2", y(end))
    .attr("stroke", "var(--soft)").attr("stroke-dasharray", "4 3");
  const entries = [];
  data.species.forEach((name, kind) => {
    const own = good.filter((i) => frame.types[i] === kind);
    if (own.length < 2) return;
    // Points are empty segments with round ends: one element, however many particles.
    svg.append("path").attr("d", own.map((i) => `M${x(s[i]).toFixed(1)} ${y(p[i]).toFixed(1)}h0`).join("")).attr("stroke", speciesColour(kind))
      .attr("stroke-width", own.length > 500 ? 2.6 : 4).attr("stroke-linecap", "round").attr("opacity", own.length > 500 ? 0.4 : 0.7);
    entries.push({ label: `${name}: ρ = ${pearson(own.map((i) => p[i]), own.map((i) => s[i])).toFixed(3)}`, colour: speciesColour(kind), mark: "dot" });
  });
  const i = state.picked;
  if (i >= 0 && Number.isFinite(p[i]) && Number.isFinite(s[i])) {
    svg.append("circle").attr("cx", x(s[i])).attr("cy", y(p[i])).attr("r", 6).attr("fill", "none").attr("stroke", "#ff33bf").attr("stroke-width", 2.5);
  }
  key(svg, entries);
}

function pearson(a, b) {
  const mean = (list) => list.reduce((sum, v) => sum + v, 0) / list.length;
  const [ma, mb] = [mean(a), mean(b)];
  let [ab, aa, bb] = [0, 0, 0];
  for (let k = 0; k < a.length; k++) {
    ab += (a[k] - ma) * (b[k] - mb);
    aa += (a[k] - ma) ** 2;
    bb += (b[k] - mb) ** 2;
  }
  return ab / Math.sqrt(aa * bb);
}

function drawHistogram(data, state) {
  const { scaleLinear, bin, extent, max, line } = vendor;
  const frame = data.frames[state.frame];
  const values = valuesOf(frame, state.field, state.time);
  const svg = panel("histogram", `${data.fields[state.field]}, this frame${atTime(data, state.time)}`,
    values.some(Number.isFinite) ? "" : "No particle of this frame has a value.");
  if (!svg) return;
  const x = horizontal(scaleLinear, extent(values)).nice();
  const bins = bin().domain(x.domain()).thresholds(x.ticks(44));
  const shapes = data.species.map((_, kind) => {
    const own = Array.from(values).filter((v, i) => frame.types[i] === kind && Number.isFinite(v));
    return bins(own).map((b) => ({ x0: b.x0, x1: b.x1, density: own.length ? b.length / own.length / (b.x1 - b.x0 || 1) : 0 }));
  });
  const y = vertical(scaleLinear, [0, 1.06 * max(shapes.flat(), (b) => b.density)]);
  axes(svg, x, y, titleOf(data, state.field), data.units[state.field] ? `density (1/${data.units[state.field]})` : "density");
  const entries = [];
  shapes.forEach((shape, kind) => {
    const steps = shape.flatMap((b) => [[x(b.x0), y(b.density)], [x(b.x1), y(b.density)]]);
    if (!shape.some((b) => b.density)) return;
    const outline = line()([[steps[0][0], y(0)], ...steps, [steps.at(-1)[0], y(0)]]);
    svg.append("path").attr("d", outline).attr("fill", speciesColour(kind)).attr("fill-opacity", 0.22).attr("stroke", speciesColour(kind)).attr("stroke-width", 1.6);
    entries.push({ label: data.species[kind], colour: speciesColour(kind), mark: "area" });
  });
  const i = state.picked;
  if (i >= 0 && Number.isFinite(values[i])) {
    svg.append("line").attr("x1", x(values[i])).attr("x2", x(values[i])).attr("y1", MARGIN.top).attr("y2", HEIGHT - MARGIN.bottom)
      .attr("stroke", "#ff33bf").attr("stroke-width", 2);
  }
  key(svg, entries);
}

function drawCorrelation(data, state) {
  const { scaleLinear, line } = vendor;
  const own = data.correlation.curves.filter((c) => c.time === state.time);
  const svg = panel("correlation", data.correlation.caption, own.length ? "" : data.correlation.missing);
  if (!svg) return;
  const x = horizontal(scaleLinear, [0, Math.max(...own.map((c) => c.r.at(-1)))]);
  const values = own.flatMap((c) => c.c).filter(Number.isFinite);
  const y = vertical(scaleLinear, [Math.min(0, ...values), Math.max(0.1, ...values)]).nice();
  axes(svg, x, y, `distance r (${data.unit})`, "C(r)");
  svg.append("line").attr("x1", MARGIN.left).attr("x2", WIDTH - MARGIN.right).attr("y1", y(0)).attr("y2", y(0)).attr("stroke", "var(--soft)");
  const colours = { predicted: "var(--s0)", simulated: "var(--s1)" };
  for (const curve of own) {
    svg.append("path").attr("fill", "none").attr("stroke", colours[curve.field] || "var(--s2)").attr("stroke-width", 2)
      .attr("d", line().defined((p) => Number.isFinite(p[1])).x((p) => x(p[0])).y((p) => y(p[1]))(curve.r.map((r, k) => [r, curve.c[k]])));
  }
  key(svg, own.map((c) => ({
    label: data.fields[c.field].split(" ")[0] + (Number.isFinite(c.xi) ? `, ξ = ${c.xi.toFixed(2)} ${data.unit}` : ""), colour: colours[c.field] || "var(--s2)",
  })));
}
