import { Checkbox, ScrollArea, Table, UnstyledButton } from '@mantine/core';
import { IconChevronDown, IconChevronUp, IconSelector } from '@tabler/icons-react';
import { createColumnHelper, tableFeatures, useTable } from '@tanstack/react-table';
import { useMemo, type ReactNode } from 'react';

import { text } from '../text';

export interface Column<T> {
  id: string;
  header: string;
  cell: (row: T) => ReactNode;
  /** The API's word to sort by it. */
  sort?: string;
  right?: boolean;
}

interface Props<T> {
  label: string;
  columns: Column<T>[];
  rows: T[];
  keyOf: (row: T) => string;
  /** As the API has it: name, or -name for the other way round. */
  sort?: [string, (sort: string) => void];
  picked?: [ReadonlySet<string>, (keys: ReadonlySet<string>) => void];
}

const features = tableFeatures({});

/** A table whose order and parts the API decides. It scrolls sideways when it must; on a phone each row is a block of its own. */
export function DataTable<T extends object>({ label, columns, rows, keyOf, sort, picked }: Props<T>) {
  const defs = useMemo(() => {
    const helper = createColumnHelper<typeof features, T>();
    return columns.map((c) => helper.display({ id: c.id, header: c.header }));
  }, [columns]);
  const table = useTable({ features, columns: defs, data: rows, getRowId: keyOf });
  const byId = Object.fromEntries(columns.map((c) => [c.id, c]));
  const toggle = (key: string, on: boolean) => {
    if (picked === undefined) return;
    const next = new Set(picked[0]);
    if (on) next.add(key);
    else next.delete(key);
    picked[1](next);
  };
  const all = rows.length > 0 && rows.every((r) => picked?.[0].has(keyOf(r)));
  return (
    <ScrollArea type="auto" viewportProps={{ tabIndex: 0, role: 'group', 'aria-label': label }}>
      <Table verticalSpacing="sm" highlightOnHover aria-label={label} miw={columns.length * 110} role="table" className="rows">
        <Table.Thead role="rowgroup">
          {table.getHeaderGroups().map((group) => (
            <Table.Tr key={group.id} role="row">
              {picked !== undefined && (
                <Table.Th w={40} role="columnheader">
                  <Checkbox
                    aria-label={text.table.all}
                    checked={all}
                    indeterminate={!all && picked[0].size > 0}
                    onChange={(e) => picked[1](new Set(e.currentTarget.checked ? rows.map(keyOf) : []))}
                  />
                </Table.Th>
              )}
              {group.headers.map((header) => {
                const by = byId[header.column.id]?.sort;
                const order = by === undefined || sort === undefined ? undefined : sort[0] === by ? 'ascending' : sort[0] === `-${by}` ? 'descending' : 'none';
                return (
                  <Table.Th key={header.id} role="columnheader" aria-sort={order} ta={byId[header.column.id]?.right ? 'right' : undefined}>
                    {order === undefined || by === undefined ? (
                      <table.FlexRender header={header} />
                    ) : (
                      <UnstyledButton className="sort" onClick={() => sort?.[1](order === 'ascending' ? `-${by}` : by)}>
                        <table.FlexRender header={header} />
                        {order === 'none' ? <IconSelector size={14} /> : order === 'ascending' ? <IconChevronUp size={14} /> : <IconChevronDown size={14} />}
                      </UnstyledButton>
                    )}
                  </Table.Th>
                );
              })}
            </Table.Tr>
          ))}
        </Table.Thead>
        <Table.Tbody role="rowgroup">
          {table.getRowModel().rows.map((row) => (
            <Table.Tr key={row.id} role="row">
              {picked !== undefined && (
                <Table.Td role="cell" className="pick">
                  <Checkbox aria-label={text.table.pick(row.id)} checked={picked[0].has(row.id)} onChange={(e) => toggle(row.id, e.currentTarget.checked)} />
                </Table.Td>
              )}
              {row.getAllCells().map((cell, i) => (
                <Table.Td key={cell.id} role="cell" ta={byId[cell.column.id]?.right ? 'right' : undefined} data-label={i === 0 ? undefined : byId[cell.column.id]?.header}>
                  {/* Called, not rendered as a component: a new function would be a new one, and close its dialog. */}
                  <div>{byId[cell.column.id]?.cell(row.original)}</div>
                </Table.Td>
              ))}
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </ScrollArea>
  );
}
