import { Button, Checkbox, Group, Modal, PasswordInput, Stack, Switch, Text, Textarea, TextInput } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { useState } from 'react';

import type { EnvVar } from '../api/client';
import { asProblem, useAct } from '../api/query';
import { text } from '../text';
import { ConfirmButton } from './confirm';
import { Empty } from './empty';
import { ProblemBox } from './problem';
import { DataTable, type Column } from './table';

export interface EnvPatch {
  set?: EnvVar[];
  unset?: string[];
}

/** Reads lines like KEY=value as people paste them: with export, quotes, comments. */
export function parseEnv(pasted: string): EnvVar[] {
  return pasted.split('\n').flatMap((line) => {
    const m = /^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*?)\s*$/.exec(line);
    if (m?.[1] === undefined) return [];
    const value = m[2] ?? '';
    const quoted = /^(["'])(.*)\1$/.exec(value);
    return [{ key: m[1], value: quoted?.[2] ?? value }];
  });
}

function Edit({ variable, save }: { variable?: EnvVar; save: (p: EnvPatch) => Promise<unknown> }) {
  const [opened, dialog] = useDisclosure(false);
  const [form, setForm] = useState({ key: '', value: '', secret: false });
  const change = useAct<undefined>({
    act: () => save({ set: [{ ...form, key: form.key.trim() }] }),
    done: text.env.saved(form.key),
    inForm: true,
    then: dialog.close,
  });
  const wrong = change.error === null ? {} : asProblem(change.error).fields;
  const open = () => {
    change.reset();
    setForm({ key: variable?.key ?? '', value: variable?.value ?? '', secret: variable?.secret ?? false });
    dialog.open();
  };
  const Value = form.secret ? PasswordInput : TextInput;
  return (
    <>
      <Button variant={variable === undefined ? 'filled' : 'default'} size={variable === undefined ? 'sm' : 'compact-sm'} onClick={open} aria-label={variable && text.env.editOf(variable.key)}>
        {variable === undefined ? text.env.add : text.env.edit}
      </Button>
      <Modal opened={opened} onClose={dialog.close} title={variable === undefined ? text.env.add : text.env.editOf(variable.key)} closeButtonProps={{ 'aria-label': text.close }}>
        <form
          onSubmit={(e) => {
            e.preventDefault();
            change.mutate(undefined);
          }}
        >
          <Stack>
            <TextInput
              label={text.env.key}
              value={form.key}
              onChange={(e) => setForm({ ...form, key: e.currentTarget.value })}
              readOnly={variable !== undefined}
              error={wrong.key}
              required
              autoComplete="off"
              autoCapitalize="characters"
              spellCheck={false}
              className="mono"
            />
            <Value label={text.env.value} value={form.value} onChange={(e) => setForm({ ...form, value: e.currentTarget.value })} error={wrong.value} autoComplete="off" spellCheck={false} />
            <Switch label={text.env.secret} description={text.env.secretNote} checked={form.secret} onChange={(e) => setForm({ ...form, secret: e.currentTarget.checked })} />
            <ProblemBox error={change.error} skip={['key', 'value']} />
            <Group justify="flex-end">
              <Button type="submit" loading={change.isPending}>
                {text.save}
              </Button>
            </Group>
          </Stack>
        </form>
      </Modal>
    </>
  );
}

function Paste({ save }: { save: (p: EnvPatch) => Promise<unknown> }) {
  const [opened, dialog] = useDisclosure(false);
  const [pasted, setPasted] = useState('');
  const [secret, setSecret] = useState(true);
  const found = parseEnv(pasted);
  const change = useAct<undefined>({
    act: () => save({ set: found.map((v) => ({ ...v, secret })) }),
    done: text.env.savedMany(found.length),
    inForm: true,
    then: () => {
      setPasted('');
      dialog.close();
    },
  });
  return (
    <>
      <Button variant="default" onClick={dialog.open}>
        {text.env.paste}
      </Button>
      <Modal opened={opened} onClose={dialog.close} title={text.env.paste} size="lg" closeButtonProps={{ 'aria-label': text.close }}>
        <form
          onSubmit={(e) => {
            e.preventDefault();
            change.mutate(undefined);
          }}
        >
          <Stack>
            <Textarea
              label={text.env.lines}
              placeholder={text.env.linesLike}
              value={pasted}
              onChange={(e) => setPasted(e.currentTarget.value)}
              rows={10}
              className="mono"
              spellCheck={false}
              data-autofocus
            />
            <Checkbox label={text.env.allSecret} checked={secret} onChange={(e) => setSecret(e.currentTarget.checked)} />
            <Text size="sm" c="dimmed" role="status">
              {text.env.found(found.map((v) => v.key))}
            </Text>
            <ProblemBox error={change.error} />
            <Group justify="flex-end">
              <Button type="submit" loading={change.isPending} disabled={found.length === 0}>
                {text.save}
              </Button>
            </Group>
          </Stack>
        </form>
      </Modal>
    </>
  );
}

/** Variables: plain ones are read, secret ones only written. */
export function Variables({ items, save }: { items: EnvVar[]; save: (p: EnvPatch) => Promise<unknown> }) {
  const columns: Column<EnvVar>[] = [
    { id: 'key', header: text.env.key, cell: (v) => <span className="mono">{v.key}</span> },
    { id: 'value', header: text.env.value, cell: (v) => (v.secret === true ? <Text c="dimmed" size="sm">{text.env.hidden}</Text> : <span className="mono">{v.value}</span>) },
    {
      id: 'actions',
      header: text.actions,
      right: true,
      cell: (v) => (
        <Group gap="xs" justify="flex-end" wrap="nowrap">
          <Edit variable={v} save={save} />
          <ConfirmButton
            label={text.env.remove}
            aria={text.env.removeOf(v.key)}
            title={text.env.removeOf(v.key)}
            what={v.secret === true ? text.env.removeSecret : text.env.removeWhat}
            button={{ size: 'compact-sm' }}
            act={() => save({ unset: [v.key] })}
            done={text.env.removed(v.key)}
          />
        </Group>
      ),
    },
  ];
  return (
    <Stack>
      <Group gap="sm">
        <Edit save={save} />
        <Paste save={save} />
      </Group>
      {items.length === 0 ? (
        <Empty title={text.env.none}>{text.env.noneWhy}</Empty>
      ) : (
        <DataTable label={text.env.title} columns={columns} rows={items} keyOf={(v) => v.key} />
      )}
    </Stack>
  );
}
