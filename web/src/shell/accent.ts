import { darken, isLightColor, lighten } from '@mantine/core';
import { useEffect } from 'react';

/** Sets the colour of buttons and links, kept legible on both grounds; absent = the product's own. */
export function useAccent(accent: string | undefined) {
  useEffect(() => {
    const names = ['--mantine-primary-color-filled', '--mantine-primary-color-filled-hover', '--mantine-color-anchor'] as const;
    const root = document.documentElement.style;
    if (accent !== undefined && accent !== '') {
      const strong = isLightColor(accent, 0.18) ? darken(accent, 0.45) : accent;
      root.setProperty(names[0], strong);
      root.setProperty(names[1], darken(strong, 0.1));
      root.setProperty(names[2], `light-dark(${strong}, ${lighten(accent, 0.55)})`);
    }
    return () => {
      for (const name of names) root.removeProperty(name);
    };
  }, [accent]);
}
