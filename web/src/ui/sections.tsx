import { useEffect, useRef } from 'react';
import { NavLink, useLocation } from 'react-router';

import css from './sections.module.css';

/** The ways between pages that belong together. Where they have no room, the present one is scrolled to. */
export function Sections({ label, of }: { label: string; of: { to: string; name: string | undefined; end?: boolean }[] }) {
  const nav = useRef<HTMLElement>(null);
  const { pathname } = useLocation();
  useEffect(() => {
    nav.current?.querySelector('[aria-current="page"]')?.scrollIntoView({ block: 'nearest', inline: 'center' });
  }, [pathname]);
  return (
    <nav ref={nav} className={css.sections} aria-label={label}>
      {of.map((s) => (
        <NavLink key={s.to} to={s.to} end={s.end ?? false} className={css.section ?? ''}>
          {s.name}
        </NavLink>
      ))}
    </nav>
  );
}
