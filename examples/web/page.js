// index.html?bundle=URL of a bundle's directory, relative to the page. The server only hands out files.

const [form, source, button] = ["form", "#source", "button"].map((selector) => document.querySelector(selector));
const [output, status] = ["output", "#status"].map((selector) => document.querySelector(selector));
const worker = new Worker("worker.js", { type: "module" });

worker.addEventListener("message", ({ data }) => {
  if (data.failure) status.textContent = `Failed: ${data.failure}`;
  if (data.ready) status.textContent = `Ready: ${data.ready}`;
  if (data.lines) {
    output.textContent = data.lines.join("\n");
    status.textContent = `${data.milliseconds} ms`;
  }
  button.disabled = false;
});
worker.addEventListener("error", () => (status.textContent = "Failed: the worker did not start"));

form.addEventListener("submit", (event) => {
  event.preventDefault();
  button.disabled = true;
  status.textContent = "Translating …";
  worker.postMessage({ text: source.value });
});

const bundle = new URLSearchParams(location.search).get("bundle") ?? "../build/marian-en-de-int8";
worker.postMessage({ bundle: new URL(bundle, location.href).href });
