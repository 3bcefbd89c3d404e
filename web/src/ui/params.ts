import { useCallback } from 'react';
import { useSearchParams } from 'react-router';

/** A part of the view's state that is kept in the address; the default is left out. */
export function useParam(name: string, initial = ''): [string, (value: string) => void] {
  const [params, setParams] = useSearchParams();
  const set = useCallback(
    (value: string) => {
      setParams(
        (old) => {
          const next = new URLSearchParams(old);
          if (value === initial) next.delete(name);
          else next.set(name, value);
          return next;
        },
        { replace: true },
      );
    },
    [setParams, name, initial],
  );
  return [params.get(name) ?? initial, set];
}
