"use strict";

// Each plot is a slider over its steps: pointer or arrow keys move it, a tip names the values.
function explore(plot, data) {
  const steps = [...new Set(data.series.flatMap((s) => s.steps))].sort((a, b) => a - b);
  const lookup = data.series.map((s) => new Map(s.steps.map((step, i) => [step, s.values[i]])));
  const cursor = element("div", "cursor"), tip = element("div", "tip");
  let at = steps.length - 1;
  cursor.hidden = tip.hidden = true;
  plot.append(cursor, tip);
  plot.tabIndex = 0;
  for (const [name, value] of Object.entries({
    role: "slider",
    "aria-label": plot.querySelector("svg").getAttribute("aria-label"),
    "aria-valuemin": steps[0],
    "aria-valuemax": steps.at(-1),
  })) plot.setAttribute(name, value);

  function show(index) {
    at = Math.max(0, Math.min(steps.length - 1, index));
    const step = steps[at], place = (step - data.from) / (data.to - data.from);
    const found = data.series.flatMap((s, i) => (lookup[i].has(step) ? [[s.label, lookup[i].get(step)]] : []));
    tip.replaceChildren(element("b", "", `step ${step.toLocaleString("en")}`));
    for (const [label, value] of found) {
      const row = element("div", "");
      row.append(element("span", "", label), element("span", "", readable(value)));
      tip.append(row);
    }
    cursor.hidden = tip.hidden = false;
    cursor.style.left = `${100 * place}%`;
    tip.style.left = place < 0.5 ? `calc(${100 * place}% + 10px)` : "auto";
    tip.style.right = place < 0.5 ? "auto" : `calc(${100 * (1 - place)}% + 10px)`;
    plot.setAttribute("aria-valuenow", step);
    const words = found.map(([label, value]) => `${label} ${readable(value)}`);
    plot.setAttribute("aria-valuetext", `step ${step}: ${words.join(", ")}`);
  }

  function nearest(event) {
    const box = plot.getBoundingClientRect();
    const step = data.from + ((event.clientX - box.left) / box.width) * (data.to - data.from);
    let low = 0, high = steps.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (steps[middle] < step) low = middle + 1;
      else high = middle;
    }
    return low > 0 && step - steps[low - 1] < steps[low] - step ? low - 1 : low;
  }

  const hide = () => { cursor.hidden = tip.hidden = true; };
  plot.addEventListener("pointermove", (event) => show(nearest(event)));
  plot.addEventListener("pointerdown", (event) => show(nearest(event)));
  plot.addEventListener("pointerleave", hide);
  plot.addEventListener("focus", () => { if (plot.matches(":focus-visible")) show(at); });
  plot.addEventListener("blur", hide);
  plot.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: at - 1, ArrowRight: at + 1, PageDown: at - 10, PageUp: at + 10, Home: 0, End: steps.length - 1 };
    if (event.key === "Escape") hide();
    if (!(event.key in moves)) return;
    event.preventDefault();
    show(moves[event.key]);
  });
}

// One step of the samples at a time: slider, buttons, or arrow keys anywhere in the section.
function browse(section) {
  const steps = [...section.querySelectorAll(".step")];
  const picker = section.querySelector(".picker");
  if (!picker) return;
  const slider = picker.querySelector("input"), output = picker.querySelector("output");
  const numbers = steps.map((step) => step.dataset.step);
  const show = (index) => {
    const chosen = Math.max(0, Math.min(steps.length - 1, index));
    slider.value = chosen;
    steps.forEach((step, i) => { step.hidden = i !== chosen; });
    slider.setAttribute("aria-valuetext", `step ${numbers[chosen]}`);
    output.textContent = `step ${numbers[chosen]} of ${numbers.at(-1)}`;
  };
  slider.addEventListener("input", () => show(Number(slider.value)));
  for (const button of picker.querySelectorAll("button")) {
    button.addEventListener("click", () => show(Number(slider.value) + Number(button.dataset.move)));
  }
  section.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!move || event.target === slider) return;
    event.preventDefault();
    show(Number(slider.value) + move);
  });
  picker.hidden = steps.length < 2;
  show(steps.length - 1);
}

function copy(button) {
  const code = button.parentElement.querySelector("code");
  button.hidden = false;
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code);
      button.textContent = "Selected";
    }
  });
}

function element(name, className, text = "") {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

function readable(value) {
  if (typeof value !== "number") return value;
  if (Math.abs(value) >= 1000) return Math.round(value).toLocaleString("en");
  return String(Number(value.toPrecision(4)));
}

const curves = document.getElementById("curves-data");
if (curves) {
  const data = JSON.parse(curves.textContent);
  for (const plot of document.querySelectorAll(".plot")) explore(plot, data[plot.dataset.chart]);
}
browse(document.getElementById("samples"));
document.querySelectorAll(".copy").forEach(copy);
