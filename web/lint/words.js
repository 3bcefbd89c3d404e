// Finds words that a page says and that do not come from the catalogue,
// src/text: another language could not replace them.

/** Attributes that people read or hear. */
const spoken = new Set(['alt', 'description', 'error', 'header', 'heading', 'hint', 'label', 'legend', 'message', 'placeholder', 'title', 'what', 'why']);
const letters = /\p{L}{2}/u;
const phrase = /\p{L}{2,}[,.:;!?…]? +\p{L}{2,}/u;
/** Where phrases are no words: class names, media queries, geometry. */
const code = new Set(['aria-live', 'className', 'd', 'fontFamily', 'fontFamilyMonospace', 'gridTemplateColumns', 'style', 'transform', 'viewBox', 'flex']);

const called = (name) => spoken.has(name) || name.startsWith('aria-') || (name.endsWith('Label') && name !== 'Label');

/** Tags whose content is the same in each language. */
const untranslated = new Set(['Commands', 'code', 'Code']);

const unsaid = { name: 'style' };

/** What a value is for: the text between tags, an attribute or property by its name, or nothing of these. */
function place(node) {
  for (let child = node, up = node.parent; up; child = up, up = up.parent) {
    switch (up.type) {
      case 'JSXAttribute':
        return { name: up.name.name };
      case 'JSXElement':
        return untranslated.has(up.openingElement.name.name) ? unsaid : { between: true };
      case 'JSXFragment':
        return { between: true };
      case 'Property':
        return up.value === child && up.key.type === 'Identifier' ? { name: up.key.name } : {};
      case 'ConditionalExpression':
        if (up.test === child) return {};
        continue;
      case 'BinaryExpression':
        if (up.operator !== '+') return unsaid; // compared, not shown
        continue;
      case 'LogicalExpression':
      case 'JSXExpressionContainer':
      case 'TemplateLiteral':
        continue;
      default:
        return {};
    }
  }
  return {};
}

/** @type {import('eslint').Rule.RuleModule} */
export const words = {
  meta: { type: 'problem', schema: [], messages: { stray: '“{{text}}” is said to people: put it into src/text.' } },
  create(context) {
    const check = (node, value) => {
      const { between, name } = place(node);
      if (name !== undefined && code.has(name)) return;
      const stray = between || (name !== undefined && called(name)) ? letters : phrase;
      if (stray.test(value)) context.report({ node, messageId: 'stray', data: { text: value.trim() } });
    };
    return {
      JSXText: (node) => {
        if (letters.test(node.value)) context.report({ node, messageId: 'stray', data: { text: node.value.trim() } });
      },
      Literal: (node) => {
        if (typeof node.value !== 'string' || /^(Import|Export)/.test(node.parent.type)) return;
        // What a programmer alone sees, and types.
        if (node.parent.type === 'TSLiteralType') return;
        check(node, node.value);
      },
      TemplateElement: (node) => {
        if (node.parent.parent.type === 'TaggedTemplateExpression') return;
        check(node.parent, node.value.cooked ?? '');
      },
    };
  },
};
