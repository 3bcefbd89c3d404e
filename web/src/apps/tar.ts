/** A file of a dropped folder, with its path in it. */
export interface Part {
  path: string;
  file: File;
}

const block = 512;
const encoder = new TextEncoder();

function header(path: string, size: number): Uint8Array {
  const head = new Uint8Array(block);
  const put = (at: number, length: number, value: string) => head.set(encoder.encode(value).subarray(0, length), at);
  const octal = (at: number, length: number, value: number) => put(at, length, value.toString(8).padStart(length - 1, '0'));
  let name = path;
  let prefix = '';
  if (encoder.encode(name).length > 100) {
    const cut = path.lastIndexOf('/', 154);
    prefix = path.slice(0, Math.max(0, cut));
    name = path.slice(cut + 1);
  }
  if (encoder.encode(name).length > 100 || encoder.encode(prefix).length > 155) throw new Error(path);
  put(0, 100, name);
  octal(100, 8, 0o644);
  octal(108, 8, 0);
  octal(116, 8, 0);
  octal(124, 12, size);
  octal(136, 12, 0);
  head.fill(32, 148, 156); // the sum is made with blanks in its place
  put(156, 1, '0');
  put(257, 8, 'ustar\u000000');
  put(345, 155, prefix);
  const sum = head.reduce((a, b) => a + b, 0);
  put(148, 8, `${sum.toString(8).padStart(6, '0')}\u0000 `);
  return head;
}

/** Packs files as a tar archive. Names longer than the format takes are an error. */
export function tar(parts: Part[]): Blob {
  const out: BlobPart[] = [];
  for (const { path, file } of parts) {
    out.push(header(path, file.size) as Uint8Array<ArrayBuffer>, file, new Uint8Array((block - (file.size % block)) % block));
  }
  out.push(new Uint8Array(2 * block));
  return new Blob(out, { type: 'application/x-tar' });
}

const ignored = /(^|\/)(\.git|\.venv|venv|__pycache__|node_modules|\.DS_Store|\.idea|\.vscode)(\/|$)/;

/** What belongs to an app of the files that were chosen; one folder around all is left away. */
export function parts(files: Part[]): Part[] {
  const kept = files.filter((f) => !ignored.test(f.path));
  const top = kept[0]?.path.split('/')[0] ?? '';
  const around = kept.length > 0 && kept.every((f) => f.path.startsWith(`${top}/`));
  return around ? kept.map((f) => ({ ...f, path: f.path.slice(top.length + 1) })) : kept;
}

async function walk(entry: FileSystemEntry): Promise<Part[]> {
  if (entry.isFile) {
    const file = await new Promise<File>((done, fail) => {
      (entry as FileSystemFileEntry).file(done, fail);
    });
    return [{ path: entry.fullPath.replace(/^\//, ''), file }];
  }
  if (ignored.test(entry.fullPath)) return [];
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  const found: Part[] = [];
  for (;;) {
    const some = await new Promise<FileSystemEntry[]>((done, fail) => {
      reader.readEntries(done, fail);
    });
    if (some.length === 0) return found; // it gives at most 100 at once
    for (const e of some) found.push(...(await walk(e)));
  }
}

/** The files of what was dropped, folders included. */
export async function dropped(data: DataTransfer): Promise<Part[]> {
  const entries = [...data.items].map((i) => i.webkitGetAsEntry()).filter((e) => e !== null);
  return (await Promise.all(entries.map(walk))).flat();
}
