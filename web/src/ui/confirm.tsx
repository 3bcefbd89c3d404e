import { Button, Group, Modal, Stack, Text, TextInput, type ButtonProps } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { useState, type ReactNode } from 'react';

import { useAct } from '../api/query';
import { text } from '../text';
import { ProblemBox } from './problem';

/** A button that asks first: what will happen, what is lost, and for the name where that cannot be undone. */
export function ConfirmButton({ label, title, what, name, act, done, then, danger = true, button, aria }: {
  label: ReactNode;
  title: string;
  what: ReactNode;
  name?: string;
  act: () => Promise<unknown>;
  done: string;
  then?: () => unknown;
  danger?: boolean;
  button?: ButtonProps;
  aria?: string;
}) {
  const [opened, dialog] = useDisclosure(false);
  const [typed, setTyped] = useState('');
  const change = useAct<undefined>({
    act,
    done,
    inForm: true,
    then: () => {
      dialog.close();
      return then?.();
    },
  });
  const open = () => {
    setTyped('');
    change.reset();
    dialog.open();
  };
  return (
    <>
      <Button variant="default" {...button} onClick={open} aria-label={aria}>
        {label}
      </Button>
      <Modal opened={opened} onClose={dialog.close} title={title} closeButtonProps={{ 'aria-label': text.close }}>
        <form
          onSubmit={(e) => {
            e.preventDefault();
            change.mutate(undefined);
          }}
        >
          <Stack>
            {typeof what === 'string' ? <Text>{what}</Text> : what}
            {name !== undefined && (
              <TextInput
                label={text.confirm.type(name)}
                value={typed}
                onChange={(e) => setTyped(e.currentTarget.value)}
                autoComplete="off"
                autoCapitalize="none"
                spellCheck={false}
                data-autofocus
              />
            )}
            <ProblemBox error={change.error} />
            <Group justify="flex-end">
              <Button variant="default" onClick={dialog.close}>
                {text.cancel}
              </Button>
              <Button type="submit" color={danger ? 'red.8' : undefined} loading={change.isPending} disabled={name !== undefined && typed !== name}>
                {label}
              </Button>
            </Group>
          </Stack>
        </form>
      </Modal>
    </>
  );
}
