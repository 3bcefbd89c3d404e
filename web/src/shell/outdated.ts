/** Says that a file of this UI could not be had: the platform was upgraded, or cannot be reached. */
export class Outdated extends Error {
  override readonly name = 'Outdated';
}

const tries = [500, 2000];

/** Loads a page's file, again after a moment where the connection broke. */
export async function part<T>(load: () => Promise<T>, wait = tries): Promise<T> {
  try {
    return await load();
  } catch (cause) {
    const [now, ...later] = wait;
    if (now === undefined) throw new Outdated(cause instanceof Error ? cause.message : String(cause), { cause });
    await new Promise((done) => setTimeout(done, now));
    return part(load, later);
  }
}
