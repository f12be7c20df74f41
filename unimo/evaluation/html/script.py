"""Style and script of the evaluation report, beside those that it shares with the data report."""

from __future__ import annotations

from unimo.data.report_page import PAGE_STYLE

STYLE = PAGE_STYLE + """
:root { --run0: var(--mark); --run1: #c2571a; --run2: #2c7d4f; --run3: #8250b4;
  --edge: #1d1f2140; --warn: #8a5a00; --warnpaper: #fdf3dc; }
@media (prefers-color-scheme: dark) {
  :root { --run1: #f0955a; --run2: #6cc592; --run3: #c39bea; --edge: #e4e4e14d; --warn: #ecc46a; --warnpaper: #2b2415; }
}
h3 { margin: 18px 0 6px; } nav { margin: 12px 0; } nav a { margin-right: 14px; color: var(--mark); }
a:focus-visible, button:focus-visible, input:focus-visible, .box:focus-visible, summary:focus-visible {
  outline: 2px solid var(--mark); outline-offset: 2px; }
/* a shadow at an edge behind which there is more of the table: covers move with the table, shadows stay */
.box { overflow-x: auto; margin: 0 0 18px; background:
  linear-gradient(to left, var(--paper) 40%, transparent) 100% 0 / 48px 100% no-repeat local,
  linear-gradient(to left, var(--edge), transparent) 100% 0 / 18px 100% no-repeat scroll; }
table { font-variant-numeric: tabular-nums; font-size: 14px; }
th { font-weight: 500; } thead th { color: var(--soft); font-size: 12px; vertical-align: bottom; white-space: nowrap; }
td, th { border-bottom: 1px solid var(--line); padding: 3px 18px 3px 0; }
td { white-space: nowrap; } tbody th { min-width: 110px; max-width: 330px; }
tbody th { position: sticky; left: 0; background: var(--paper); } code { overflow-wrap: anywhere; }
dt { margin-top: 6px; } dd { margin-left: 16px; color: var(--soft); }
@media (max-width: 600px) { tbody th { max-width: 120px; } td, th { padding-right: 12px; } }
.words td { white-space: normal; overflow-wrap: anywhere; min-width: 200px; }
.better { color: var(--run2); } .worse { color: var(--run1); } td span { font-size: 12px; }
svg text { font-size: 12px; fill: currentColor; }
.charts { display: block; columns: 2 400px; column-gap: 26px; }
.charts h3 { margin-top: 0; } .charts figure { break-inside: avoid; padding-bottom: 14px; }
.grid { stroke: var(--line); stroke-width: 1; } .axis { stroke: currentColor; stroke-width: 1; }
.bone { stroke: var(--line); stroke-width: 7; stroke-linecap: round; }
.path { fill: none; stroke-width: 2; stroke-linejoin: round; } .span { stroke-width: 2; }
.path.run0, .span.run0 { stroke: var(--run0); } .mark.run0 { fill: var(--run0); }
.path.run1, .span.run1 { stroke: var(--run1); } .mark.run1 { fill: var(--run1); }
.path.run2, .span.run2 { stroke: var(--run2); } .mark.run2 { fill: var(--run2); }
.path.run3, .span.run3 { stroke: var(--run3); } .mark.run3 { fill: var(--run3); }
.faint { fill-opacity: 0.65; }
.note, .badge { color: var(--warn); background: var(--warnpaper); border-left: 4px solid var(--warn);
  padding: 6px 10px; }
.paper { border: 2px dashed var(--warn); border-radius: 6px; padding: 4px 16px 12px; margin-top: 40px; }
.paper h2 { border: 0; margin-top: 8px; } .badge { font-weight: 600; } .paper .box { margin-bottom: 4px; }
.remark { font-size: 12px; margin-bottom: 18px; }
.players { display: grid; gap: 22px; grid-template-columns: repeat(auto-fill, minmax(min(460px, 100%), 1fr)); }
.player { min-width: 0; } .player figcaption { margin: 0 0 4px; }
.panels { display: flex; font-size: 11px; color: var(--soft); } .panels span { flex: 1 1 0; min-width: 0; }
.film { overflow: hidden; border-radius: 3px; position: relative; background: var(--line); }
.film img { position: absolute; top: 0; left: 0; max-width: none; height: auto; border-radius: 0; }
.controls { display: flex; align-items: center; gap: 10px; margin-top: 6px; }
.controls button { min-width: 68px; min-height: 32px; font: inherit; color: var(--ink); background: var(--paper);
  border: 1px solid var(--soft); border-radius: 4px; cursor: pointer; }
.controls input { flex: 1; min-width: 0; accent-color: var(--mark); }
.controls output { font-size: 12px; color: var(--soft); min-width: 46px; font-variant-numeric: tabular-nums; }
details summary { cursor: pointer; margin: 8px 0; }
"""

SCRIPT = """
const still = matchMedia('(prefers-reduced-motion: reduce)');
for (const figure of document.querySelectorAll('.player[data-frames]')) {
  const [frames, columns, rows, fps] = ['frames', 'columns', 'rows', 'fps'].map(key => Number(figure.dataset[key]));
  const [film, button, slider, output] = ['img', 'button', 'input', 'output'].map(name => figure.querySelector(name));
  const name = button.getAttribute('aria-label').replace('Play ', '');
  let frame = 0, timer = null, touched = false;
  const show = next => {
    frame = next;
    film.style.transform =
      `translate(${-100 * (frame % columns) / columns}%, ${-100 * Math.floor(frame / columns) / rows}%)`;
    const time = (frame / fps).toFixed(2) + ' s';
    slider.value = frame;
    slider.setAttribute('aria-valuetext', `frame ${frame + 1} of ${frames}, ${time}`);
    output.value = time;
  };
  const play = on => {
    clearInterval(timer);
    timer = on ? setInterval(() => show((frame + 1) % frames), 1000 / fps) : null;
    button.textContent = on ? 'Pause' : 'Play';
    button.setAttribute('aria-label', `${on ? 'Pause' : 'Play'} ${name}`);
  };
  button.addEventListener('click', () => { touched = true; play(timer === null); });
  slider.addEventListener('input', () => { touched = true; play(false); show(Number(slider.value)); });
  new IntersectionObserver(([entry]) => {
    if (!entry.isIntersecting) play(false);
    else if (!touched && !still.matches) play(true);
  }, {threshold: 0.6}).observe(figure);
  show(0);
}
"""
