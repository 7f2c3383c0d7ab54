// Opens the page of `edgekit serve`, chooses a pair of languages, types what stdin holds, and prints as JSON which pairs
// there are to choose from and what the page then shows.
//
//     node translate_on_page.mjs CHROMIUM URL PAIR < text

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const { chromium } = createRequire(new URL("../../examples/web/package.json", import.meta.url))("playwright-core");
const [executablePath, url, pair] = process.argv.slice(2);

// Running as root, as CI does, Chromium has no sandbox.
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
try {
  const page = await browser.newPage();
  page.on("pageerror", (error) => console.error(error.message));
  await page.goto(url);
  const options = page.getByLabel("Languages").locator("option");
  await options.first().waitFor({ state: "attached" });
  await page.getByLabel("Languages").selectOption(pair);
  await page.getByLabel("Text to translate").fill(readFileSync(0, "utf8"));
  await page.getByRole("button", { name: "Translate" }).click();
  const cards = page.locator("article");
  await cards.locator("time").filter({ hasText: /ms$/ }).last().waitFor();
  const shown = { name: "h2 span", text: "p" };
  for (const part of Object.keys(shown)) shown[part] = await cards.locator(shown[part]).allTextContents();
  console.log(JSON.stringify({ pairs: await options.allTextContents(), ...shown }));
} finally {
  await browser.close();
}
