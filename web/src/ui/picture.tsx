import { Button, FileButton, Group, Text } from '@mantine/core';

import { Problem, problemOf } from '../api/client';
import { useAct } from '../api/query';
import { text } from '../text';

/** Sends a picture as it is, which the generated client has no words for. */
async function put(path: string, file: File) {
  const response = await fetch(path, { method: 'PUT', body: file, headers: { 'Content-Type': file.type } }).catch(() => {
    throw new Problem('unreachable', text.problem.unreachable);
  });
  if (!response.ok) throw problemOf(await response.json().catch(() => null), response);
}

/** A picture that can be set and taken away. */
export function Picture({ path, version, remove, note }: { path: string; version: string | undefined; remove: () => Promise<unknown>; note: string }) {
  const set = useAct<File>({ act: (file) => put(path, file), done: text.picture.saved });
  const away = useAct<undefined>({ act: remove, done: text.picture.removed });
  return (
    <div>
      <Group>
        {version !== undefined && <img src={version} alt="" className="picture" />}
        <FileButton accept="image/png,image/jpeg,image/webp" onChange={(f) => f !== null && set.mutate(f)}>
          {(props) => (
            <Button variant="default" loading={set.isPending} {...props}>
              {text.picture.choose}
            </Button>
          )}
        </FileButton>
        {version !== undefined && (
          <Button variant="subtle" loading={away.isPending} onClick={() => away.mutate(undefined)}>
            {text.picture.remove}
          </Button>
        )}
      </Group>
      <Text size="sm" c="dimmed" mt={6}>
        {note}
      </Text>
    </div>
  );
}
