import { RuleTester } from 'eslint';
import { test } from 'node:test';

import { words } from './words.js';

RuleTester.it = test;
RuleTester.describe = (_, all) => all();
const tester = new RuleTester({ languageOptions: { parserOptions: { ecmaFeatures: { jsx: true } } } });
const stray = (code) => ({ code, errors: [{ messageId: 'stray' }] });
tester.run('words', words, {
  valid: [
    '<p>{text.hello}</p>',
    '<p>← {text.back} · {n} %</p>',
    '<p className="card wide">{a}</p>',
    '<Text size="sm" c="dimmed">{a ? text.a : text.b}</Text>',
    '<Button aria-label={text.close} variant="default" />',
    '<p>{kind === "no release" ? text.a : text.b}</p>',
    '<Commands>{`git push slipway main`}</Commands>',
    'go(`/apps/${name}/deploys`)',
    'const q = { sort: "-name" }',
  ],
  invalid: [
    stray('<p>Hello</p>'),
    stray('<p>{"Hello"}</p>'),
    stray('<p>{a ? "Yes" : text.no}</p>'),
    stray('<p>{`${n} apps`}</p>'),
    stray('<p>{"Hello " + name}</p>'),
    stray('<Button aria-label="Close" />'),
    stray('<Button title={a && `Close ${b}`} />'),
    stray('show({ message: "Saved" })'),
    stray('show("It is saved")'),
    stray('show(`${n} are saved now`)'),
  ],
});
