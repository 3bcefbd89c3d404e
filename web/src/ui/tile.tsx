/** A letter on a colour that always goes with the same name. */
export function Tile({ name, label, size }: { name: string; label?: string; size: number }) {
  let sum = 0;
  for (const c of name) sum = (sum * 31 + (c.codePointAt(0) ?? 0)) >>> 0;
  return (
    <span
      aria-hidden
      className={`tile hue-${sum % 8}`}
      style={{ width: size, height: size, borderRadius: size * 0.28, fontSize: size * 0.45 }}
    >
      {(label ?? name).charAt(0).toUpperCase()}
    </span>
  );
}
