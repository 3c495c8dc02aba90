// The query console. It talks to the address it was loaded from and to nothing else, and it writes what comes from
// there as text, never as markup. The token lives in this tab's session storage and nowhere else.
'use strict';

const $ = (id) => document.getElementById(id);
const [query, variables, token, response] = ['query', 'variables', 'token', 'response'].map($);

const FIRST_QUERY = `query Version {
  version {
    version
    commitHash
  }
}
`;
// Colouring more than this would make the page slow to answer.
const COLOURED_AT_MOST = 200_000;

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// ---- what this tab remembers

for (const field of [query, variables, token]) {
  field.value = sessionStorage.getItem(`console.${field.id}`) ?? '';
  field.addEventListener('input', () => remember(field));
}
if (!query.value) query.value = FIRST_QUERY;

function remember(field) {
  try {
    sessionStorage.setItem(`console.${field.id}`, field.value);
  } catch {
    // Storage is full or switched off; the console works without.
  }
}

$('token-form').addEventListener('submit', (event) => {
  event.preventDefault();
  run();
});
$('token-show').addEventListener('click', (event) => {
  const show = token.type === 'password';
  token.type = show ? 'text' : 'password';
  event.currentTarget.textContent = show ? 'Hide' : 'Show';
  event.currentTarget.setAttribute('aria-pressed', String(show));
});

// ---- editing

// Types into a field as a person would, so that undo takes it back.
function type(field, text) {
  field.focus();
  if (!document.execCommand('insertText', false, text)) {
    field.setRangeText(text, field.selectionStart, field.selectionEnd, 'end');
    field.dispatchEvent(new Event('input'));
  }
}

function lineStart(field) {
  return field.value.lastIndexOf('\n', field.selectionStart - 1) + 1;
}

// Moves the selected lines two places to the right or to the left.
function indent(field, outwards) {
  const { value, selectionStart, selectionEnd } = field;
  if (selectionStart === selectionEnd && !outwards) return type(field, '  ');
  const from = lineStart(field);
  const lines = value.slice(from, selectionEnd);
  const moved = outwards ? lines.replace(/^ {1,2}/gm, '') : lines.replace(/^/gm, '  ');
  if (moved === lines) return;
  const firstMovedBy = moved.split('\n')[0].length - lines.split('\n')[0].length;
  field.setSelectionRange(from, selectionEnd);
  type(field, moved);
  field.setSelectionRange(Math.max(from, selectionStart + firstMovedBy), from + moved.length);
}

for (const field of [query, variables]) {
  // Tab indents, so there has to be another way out for those who have no mouse.
  let leaving = false;
  field.addEventListener('blur', () => { leaving = false; });
  field.addEventListener('keydown', (event) => {
    if (event.isComposing || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === 'Escape') {
      leaving = true;
    } else if (event.key === 'Tab') {
      if (leaving) return;
      event.preventDefault();
      indent(field, event.shiftKey);
    } else if (event.key !== 'Shift') {
      leaving = false;
      if (event.key === 'Enter' && !event.shiftKey) {
        event.preventDefault();
        const before = field.value.slice(lineStart(field), field.selectionStart);
        const opens = /[{([]\s*$/.test(before);
        type(field, '\n' + /^ */.exec(before)[0] + (opens ? '  ' : ''));
      }
    }
  });
}

// ---- running

let running = null;

document.addEventListener('keydown', (event) => {
  if ((event.ctrlKey || event.metaKey) && event.key === 'Enter') {
    event.preventDefault();
    run();
  }
});
$('run').addEventListener('click', () => (running ? running.abort() : run()));
if (/Mac|iP/.test(navigator.platform)) $('run').querySelector('kbd').textContent = '⌘ ⏎';

async function post(body, credential, signal) {
  const headers = { 'Content-Type': 'application/json', Accept: 'application/json' };
  if (credential) headers.Authorization = `Bearer ${credential}`;
  return fetch(location.pathname, {
    method: 'POST', headers, signal, body: JSON.stringify(body), credentials: 'omit', cache: 'no-store', redirect: 'error',
  });
}

// The document without comments and strings, each blanked to its length so that places stay where they are.
function bare(text) {
  return text.replace(/"""[\s\S]*?"""|"(?:\\.|[^"\\\n])*"|#[^\n]*/g, (match) => ' '.repeat(match.length));
}

// Of several operations, the one in which the cursor stands.
function operationAtCursor() {
  const found = [...bare(query.value).matchAll(/\b(?:query|mutation|subscription)\s+([_A-Za-z]\w*)/g)];
  if (found.length < 2) return undefined;
  return (found.findLast((match) => match.index <= query.selectionStart) ?? found[0])[1];
}

function readVariables() {
  $('variables-problem').textContent = '';
  if (!variables.value.trim()) return {};
  try {
    const read = JSON.parse(variables.value);
    if (read !== null && typeof read === 'object' && !Array.isArray(read)) return read;
    $('variables-problem').textContent = 'Variables are a JSON object: {"name": "value"}';
  } catch (error) {
    $('variables-problem').textContent = `Not JSON: ${error.message}`;
  }
  return null;
}

async function run() {
  const values = readVariables();
  if (!values) return variables.focus();
  running?.abort();
  const controller = new AbortController();
  running = controller;
  $('run-label').textContent = 'Stop';
  $('status').replaceChildren('Running …');
  const start = performance.now();
  try {
    const credential = token.value.trim().replace(/^Bearer\s+/i, '');
    if (/[^\x21-\x7e]/.test(credential)) throw new Error('The token has characters that no token has.');
    const body = { query: query.value, variables: values, operationName: operationAtCursor() };
    const reply = await post(body, credential, controller.signal);
    const text = await reply.text();
    if (running === controller) show(reply, text, performance.now() - start);
  } catch (error) {
    if (running !== controller) return;
    const stopped = error.name === 'AbortError';
    const reached = error instanceof TypeError ? 'The server cannot be reached.' : error.message;
    $('status').replaceChildren(element('span', { className: 'bad', textContent: stopped ? 'Stopped' : 'Failed' }));
    response.textContent = stopped ? 'Stopped before the answer was there.' : reached;
    $('copy').hidden = true;
  } finally {
    if (running === controller) {
      running = null;
      $('run-label').textContent = 'Run';
    }
  }
}

function show(reply, text, milliseconds) {
  let json;
  try {
    json = JSON.parse(text);
  } catch {
    // Shown as it came.
  }
  const errors = Array.isArray(json?.errors) ? json.errors.length : 0;
  const summary = [`${Math.round(milliseconds)} ms`, `${text.length.toLocaleString('en')} characters`];
  if (errors) summary.push(errors === 1 ? '1 error' : `${errors} errors`);
  const retry = reply.headers.get('Retry-After');
  if (retry) summary.push(`retry after ${retry} s`);
  $('status').replaceChildren(
    element('span', { className: reply.ok && !errors ? 'good' : 'bad', textContent: reply.status }),
    ` · ${summary.join(' · ')}`,
  );
  const shown = json === undefined ? text || 'The answer is empty.' : JSON.stringify(json, null, 2);
  if (json !== undefined && shown.length <= COLOURED_AT_MOST) response.replaceChildren(...coloured(shown));
  else response.textContent = shown;
  response.scrollTop = 0;
  $('copy').hidden = false;
}

function* coloured(json) {
  let done = 0;
  for (const match of json.matchAll(/("(?:\\.|[^"\\])*")(\s*:)?|\b(?:true|false|null)\b|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g)) {
    yield json.slice(done, match.index);
    const className = !match[1] ? 'json-literal' : match[2] ? 'json-key' : 'json-string';
    yield element('span', { className, textContent: match[1] ?? match[0] });
    done = match.index + (match[1] ?? match[0]).length;
  }
  yield json.slice(done);
}

$('copy').addEventListener('click', async (event) => {
  const button = event.currentTarget;
  // The clipboard exists on https and on localhost only; elsewhere the text is at least selected.
  const copied = await navigator.clipboard?.writeText(response.textContent).then(() => true, () => false);
  if (!copied) getSelection().selectAllChildren(response);
  button.textContent = copied ? 'Copied' : 'Selected';
  setTimeout(() => { button.textContent = 'Copy'; }, 1500);
});

// ---- the schema

const INTROSPECTION = `query Introspection {
  __schema {
    queryType { name }
    mutationType { name }
    types {
      kind name description
      fields(includeDeprecated: true) {
        name description isDeprecated deprecationReason
        args { name description defaultValue type { ...Type } }
        type { ...Type }
      }
      inputFields { name description defaultValue type { ...Type } }
      enumValues(includeDeprecated: true) { name description isDeprecated deprecationReason }
      interfaces { name }
      possibleTypes { name }
    }
  }
}
fragment Type on __Type { kind name ofType { kind name ofType { kind name ofType { kind name } } } }`;

// Everybody who reads a schema knows these.
const BUILT_IN = new Set(['Boolean', 'Float', 'ID', 'Int', 'String']);
const schema = { roots: [], types: new Map(), open: [] };
const view = $('schema-view');
const search = $('schema-search');

$('schema-toggle').addEventListener('click', (event) => {
  const closed = document.querySelector('main').classList.toggle('schema-closed');
  event.currentTarget.setAttribute('aria-expanded', String(!closed));
});
$('schema-reload').addEventListener('click', loadSchema);
search.addEventListener('input', () => { schema.open = []; drawSchema(); });

// Asked without the token: the schema is the same for everybody, and a token's requests are counted.
async function loadSchema() {
  view.replaceChildren(element('p', { textContent: 'Loading …' }));
  try {
    const reply = await post({ query: INTROSPECTION, operationName: 'Introspection' });
    const { data, errors } = await reply.json();
    if (!data?.__schema) throw new Error(errors?.[0]?.message ?? `HTTP ${reply.status}`);
    const { types, queryType, mutationType } = data.__schema;
    const shown = types.filter((type) => !type.name.startsWith('__')).sort((a, b) => a.name.localeCompare(b.name));
    schema.types = new Map(shown.map((type) => [type.name, type]));
    schema.roots = [['query', queryType], ['mutation', mutationType]]
      .filter(([, root]) => root)
      .map(([operation, root]) => ({ operation, type: schema.types.get(root.name) }));
    schema.open = [];
    drawSchema();
  } catch (error) {
    view.replaceChildren(element('p', { textContent: `The schema could not be read: ${error.message}` }));
  }
}

function drawSchema() {
  const name = schema.open.at(-1);
  view.replaceChildren(...(name ? drawType(schema.types.get(name)) : drawAll(search.value.trim().toLowerCase())));
  view.scrollTop = 0;
}

function open(name) {
  schema.open.push(name);
  drawSchema();
  view.focus();
}

function* drawAll(wanted) {
  const fits = (thing) => !wanted || `${thing.name} ${thing.description ?? ''}`.toLowerCase().includes(wanted);
  let found = false;
  for (const { operation, type } of schema.roots) {
    const fields = type.fields.filter(fits);
    if (!fields.length) continue;
    found = true;
    yield element('h3', { textContent: operation === 'query' ? 'Queries' : 'Mutations' });
    yield element('ul', {}, ...fields.map((field) => drawField(field, operation)));
  }
  const types = [...schema.types.values()].filter((type) => {
    if (BUILT_IN.has(type.name) || schema.roots.some((root) => root.type === type)) return false;
    return fits(type) || [...(type.fields ?? []), ...(type.inputFields ?? []), ...(type.enumValues ?? [])].some(fits);
  });
  if (types.length) {
    yield element('h3', { textContent: 'Types' });
    yield element('ul', {}, ...types.map((type) => element('li', {},
      element('div', { className: 'signature' }, link(type.name), ` ${kindOf(type)}`), ...described(type))));
  }
  if (!found && !types.length) yield element('p', { textContent: 'Nothing of that name.' });
}

function* drawType(type) {
  const back = element('button', { type: 'button', textContent: '← Back' });
  back.addEventListener('click', () => { schema.open.pop(); drawSchema(); view.focus(); });
  yield back;
  yield element('h3', { className: 'name', textContent: type.name });
  yield element('p', { textContent: kindOf(type) });
  yield* described(type);
  for (const [title, members] of [['Fields', type.fields], ['Fields', type.inputFields], ['Values', type.enumValues]]) {
    if (!members?.length) continue;
    yield element('h3', { textContent: title });
    yield element('ul', {}, ...members.map((member) => drawField(member)));
  }
  for (const [title, others] of [['Implements', type.interfaces], ['One of', type.possibleTypes]]) {
    if (!others?.length) continue;
    yield element('h3', { textContent: title });
    yield element('ul', {}, ...others.map((other) => element('li', { className: 'signature' }, link(other.name))));
  }
}

// A field, an input field or an enum's value. Fields of the roots can be put into the editor.
function drawField(field, operation) {
  const signature = element('div', { className: 'signature' }, element('span', { className: 'field', textContent: field.name }));
  if (field.args?.length) {
    const args = field.args.map((argument) => element('span', { className: 'argument' },
      `${argument.name}: `, ...typeOf(argument.type), argument.defaultValue == null ? '' : ` = ${argument.defaultValue}`));
    signature.append('(', ...args, ')');
  }
  if (field.type) signature.append(': ', ...typeOf(field.type));
  if (field.defaultValue != null) signature.append(` = ${field.defaultValue}`);
  const item = element('li', {}, signature, ...described(field));
  if (operation) {
    const use = element('button', { type: 'button', className: 'use', textContent: 'Use' });
    use.setAttribute('aria-label', `Put ${field.name} into the editor`);
    use.addEventListener('click', () => writeOperation(operation, field));
    item.prepend(use);
  }
  return item;
}

function described({ description, isDeprecated, deprecationReason }) {
  const lines = [description, isDeprecated && `Deprecated: ${deprecationReason ?? 'do not use it'}`];
  return lines.filter(Boolean).map((textContent) => element('p', { textContent }));
}

function kindOf({ kind }) {
  return kind.toLowerCase().replace('_', ' ');
}

function link(name) {
  if (BUILT_IN.has(name) || !schema.types.has(name)) return name;
  const made = element('button', { type: 'button', className: 'link', textContent: name });
  made.addEventListener('click', () => open(name));
  return made;
}

function typeOf({ kind, name, ofType }) {
  if (kind === 'NON_NULL') return [...typeOf(ofType), '!'];
  if (kind === 'LIST') return ['[', ...typeOf(ofType), ']'];
  return [link(name)];
}

function typeText({ kind, name, ofType }) {
  if (kind === 'NON_NULL') return `${typeText(ofType)}!`;
  return kind === 'LIST' ? `[${typeText(ofType)}]` : name;
}

function named(type) {
  return type.ofType ? named(type.ofType) : type;
}

// ---- an operation from the schema

function selection(type, margin, above = []) {
  const fields = schema.types.get(named(type).name)?.fields;
  if (!fields || above.length > 3) return '';
  const inner = [];
  for (const field of fields) {
    const { kind, name } = named(field.type);
    const isLeaf = kind === 'SCALAR' || kind === 'ENUM';
    if (above.includes(name) || field.args.some((argument) => argument.type.kind === 'NON_NULL')) continue;
    const below = isLeaf ? '' : selection(field.type, `${margin}  `, [...above, named(type).name]);
    if (isLeaf || below) inner.push(`${margin}  ${field.name}${below}`);
  }
  return inner.length ? ` {\n${inner.join('\n')}\n${margin}}` : '';
}

function example({ kind, name, ofType }) {
  if (kind === 'NON_NULL') return example(ofType);
  if (kind === 'LIST') return [];
  if (kind === 'ENUM') return schema.types.get(name)?.enumValues[0]?.name;
  return { Int: 0, Float: 0, Boolean: false }[name] ?? (kind === 'INPUT_OBJECT' ? {} : '');
}

function writeOperation(operation, field) {
  const text = query.value.trim();
  const simple = field.name[0].toUpperCase() + field.name.slice(1);
  let name = simple;
  for (let n = 2; new RegExp(`\\b(query|mutation)\\s+${name}\\b`).test(bare(text)); n++) name = simple + n;
  const declared = field.args.map((argument) => `$${argument.name}: ${typeText(argument.type)}`).join(', ');
  const passed = field.args.map((argument) => `${argument.name}: $${argument.name}`).join(', ');
  const written = `${operation} ${name}${declared && `(${declared})`} {\n`
    + `  ${field.name}${passed && `(${passed})`}${selection(field.type, '  ')}\n}\n`;

  // An operation without a name has to be alone in its document; the untouched first query only stands in the way.
  const nothingToKeep = !text || text === FIRST_QUERY.trim() || /^\s*(\{|(query|mutation)\s*[{(])/.test(bare(text));
  query.setSelectionRange(nothingToKeep ? 0 : query.value.length, query.value.length);
  type(query, nothingToKeep ? written : `${query.value.endsWith('\n') ? '\n' : '\n\n'}${written}`);
  query.setSelectionRange(query.value.length - written.length, query.value.length - written.length);
  query.scrollTop = query.scrollHeight;

  const needed = field.args.filter((argument) => argument.type.kind === 'NON_NULL' && argument.defaultValue == null);
  const held = readVariables();
  if (held && needed.some((argument) => !(argument.name in held))) {
    const values = { ...Object.fromEntries(needed.map((argument) => [argument.name, example(argument.type)])), ...held };
    variables.value = JSON.stringify(values, null, 2);
    remember(variables);
  }
}

loadSchema();
