import { createTheme, PasswordInput, type MantineColorsTuple } from '@mantine/core';

import { text } from '../text';

// The brand's blue; shade 7 is what the sign-in pages use.
const blue: MantineColorsTuple = ['#eaf5fb', '#d3e8f4', '#a6d2ea', '#77bbe0', '#4fa6d5', '#2f92c6', '#1a7cb0', '#0b5c8a', '#0a4f77', '#073e5e'];

// The greys of the dark scheme, as on the sign-in pages: 7 is the ground of the kit, 6 that of cards.
const dark: MantineColorsTuple = ['#e6ebf1', '#b9c3cf', '#9ca8b7', '#6b7886', '#3a4653', '#2a3440', '#171e27', '#171e27', '#0f141a', '#0a0e13'];

export const theme = createTheme({
  primaryColor: 'blue',
  primaryShade: { light: 7, dark: 6 },
  colors: { blue, dark },
  defaultRadius: 'md',
  fontFamily: 'ui-sans-serif, system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif',
  fontFamilyMonospace: 'ui-monospace, "SF Mono", "Cascadia Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace',
  headings: { fontWeight: '650' },
  cursorType: 'pointer',
  respectReducedMotion: true,
  components: {
    Card: { defaultProps: { withBorder: true, padding: 'lg', radius: 'lg' } },
    Tooltip: { defaultProps: { withArrow: true, openDelay: 300 } },
    CloseButton: { defaultProps: { 'aria-label': text.close } },
    PasswordInput: PasswordInput.extend({ defaultProps: { visibilityToggleButtonProps: { 'aria-label': text.showPassword } } }),
    // A dialog's head is no banner of the page.
    Modal: { defaultProps: { centered: true, radius: 'lg', attributes: { header: { role: 'presentation' } } } },
    Drawer: { defaultProps: { attributes: { header: { role: 'presentation' } } } },
  },
});
