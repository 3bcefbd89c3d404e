import { ActionIcon, Box, CopyButton, Tooltip } from '@mantine/core';
import { IconCheck, IconCopy } from '@tabler/icons-react';

import { text } from '../text';

export function Copy({ value, label }: { value: string; label: string }) {
  return (
    <CopyButton value={value} timeout={2000}>
      {({ copied, copy }) => (
        <Tooltip label={copied ? text.copied : label}>
          <ActionIcon variant="subtle" color={copied ? 'teal' : 'gray'} onClick={copy} aria-label={copied ? text.copied : label}>
            {copied ? <IconCheck size={18} /> : <IconCopy size={18} />}
          </ActionIcon>
        </Tooltip>
      )}
    </CopyButton>
  );
}

/** Commands to take away. */
export function Commands({ children, label = text.copyCommands }: { children: string; label?: string }) {
  return (
    <Box pos="relative" ta="left">
      <pre className="commands" tabIndex={0} aria-label={text.commands}>
        {children}
      </pre>
      <Box pos="absolute" top={8} right={8}>
        <Copy value={children} label={label} />
      </Box>
    </Box>
  );
}
