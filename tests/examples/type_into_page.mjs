// Opens a page of examples/web, types what stdin holds, presses the button, prints what the page then shows.
//
//     node type_into_page.mjs CHROMIUM URL < text

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const { chromium } = createRequire(new URL("../../examples/web/package.json", import.meta.url))("playwright-core");
const [executablePath, url] = process.argv.slice(2);

// Running as root, as CI does, Chromium has no sandbox.
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
try {
  const page = await browser.newPage();
  page.on("pageerror", (error) => console.error(error.message));
  await page.goto(url);
  const status = page.locator("#status");
  await status.filter({ hasText: /^(Ready|Failed)/ }).waitFor({ timeout: 60_000 });
  if ((await status.textContent()).startsWith("Failed")) throw new Error(await status.textContent());
  await page.getByLabel("Text, one sentence a line").fill(readFileSync(0, "utf8"));
  await page.getByRole("button", { name: "Translate" }).click();
  await status.filter({ hasText: /ms$|^Failed/ }).waitFor({ timeout: 120_000 });
  if ((await status.textContent()).startsWith("Failed")) throw new Error(await status.textContent());
  process.stdout.write(await page.locator("output").textContent());
  if (process.env.SCREENSHOT) await page.screenshot({ path: process.env.SCREENSHOT });
} finally {
  await browser.close();
}
