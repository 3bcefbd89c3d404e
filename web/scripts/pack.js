// Puts what Vite built where the binary embeds it, with each asset beside
// itself as brotli and gzip, so that nothing is compressed while it is served.
import { cp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { brotliCompress, constants, gzip } from 'node:zlib';

const from = new URL('../dist/', import.meta.url).pathname;
const to = new URL('../../internal/web/dist/', import.meta.url).pathname;
for (const name of await readdir(to)) {
  if (name !== '.gitignore') await rm(join(to, name), { recursive: true });
}
await cp(from, to, { recursive: true });
const assets = join(to, 'assets');
await Promise.all(
  (await readdir(assets)).map(async (name) => {
    const text = await readFile(join(assets, name));
    if (text.length < 1024 || !/\.(js|css|svg)$/.test(name)) return;
    const quality = { params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: text.length } };
    await writeFile(join(assets, `${name}.br`), await promisify(brotliCompress)(text, quality));
    await writeFile(join(assets, `${name}.gz`), await promisify(gzip)(text, { level: 9 }));
  }),
);
