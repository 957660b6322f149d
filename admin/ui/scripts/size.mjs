// Fails when the bundle outgrows its budget. All numbers are brotli bytes as they go over the wire.
import { readFileSync, readdirSync, statSync } from 'node:fs';
import { join, relative } from 'node:path';

const kB = 1000;
const budgets = { firstJs: 180 * kB, css: 25 * kB, lazy: 130 * kB, dist: 1500 * kB, firstFiles: 6 };
const dist = new URL('../dist', import.meta.url).pathname;

function files(dir) {
  return readdirSync(dir)
    .sort()
    .map((name) => join(dir, name))
    .flatMap((path) => (statSync(path).isDirectory() ? files(path) : [path]));
}

const brotli = files(dist)
  .filter((path) => path.endsWith('.br'))
  .map((path) => ({ name: relative(dist, path).slice(0, -3), size: statSync(path).size }));
const html = readFileSync(join(dist, 'index.html'), 'utf8');
const first = new Set([...html.matchAll(/(?:src|href)="\/([^"]+)"/g)].map((match) => match[1]));

const sum = (list) => list.reduce((total, file) => total + file.size, 0);
const js = brotli.filter((file) => file.name.endsWith('.js'));
const firstJs = js.filter((file) => first.has(file.name));
const css = brotli.filter((file) => file.name.endsWith('.css'));
const lazy = js.filter((file) => !first.has(file.name));

const rows = [
  ['first-load JS', sum(firstJs), budgets.firstJs],
  ['CSS, all of it', sum(css), budgets.css],
  ...lazy.map((file) => [`lazy ${file.name}`, file.size, budgets.lazy]),
  ['dist', sum(brotli), budgets.dist],
];
let over = 0;
for (const [name, size, budget] of rows) {
  const failed = size > budget;
  if (failed) over++;
  console.log(`${failed ? 'OVER' : 'ok  '} ${name.padEnd(44)} ${(size / kB).toFixed(1).padStart(7)} kB of ${budget / kB} kB`);
}
const firstFiles = [...first].filter((name) => /\.(js|css|woff2)$/.test(name)).length;
if (firstFiles > budgets.firstFiles) over++;
console.log(`${firstFiles > budgets.firstFiles ? 'OVER' : 'ok  '} ${'files of the first load'.padEnd(44)} ${String(firstFiles).padStart(7)} of ${budgets.firstFiles}`);
process.exit(over ? 1 : 0);
