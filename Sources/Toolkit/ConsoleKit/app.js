// The console. All its data comes from the stream of overviews and from the same queries that clients use.
const $ = id => document.getElementById(id);
let token = sessionStorage.getItem('token');
let latest = null, chosen = null, connection = null;
// What the application declares: lists of its newest things.
let lists = null;

function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith('on')) element.addEventListener(key.slice(2), value);
    else if (value != null) element.setAttribute(key, value);
  }
  element.append(...children.filter(child => child != null));
  return element;
}
const number = value => value == null ? '–' : value.toLocaleString('en', { maximumFractionDigits: value < 10 ? 1 : 0 });
const size = bytes => bytes == null ? '–' : `${number(bytes / 1e6)} MB`;
function span(seconds) {
  if (seconds == null) return '–';
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} days`;
}
// Decimals of a currency's minor unit by ISO 4217, where they are not two. Intl follows CLDR, which drops decimals that are out of use.
const minorDigits = {
  BIF: 0, CLP: 0, DJF: 0, GNF: 0, ISK: 0, JPY: 0, KMF: 0, KRW: 0, PYG: 0, RWF: 0, UGX: 0, UYI: 0, VND: 0, VUV: 0, XAF: 0, XOF: 0, XPF: 0,
  BHD: 3, IQD: 3, JOD: 3, KWD: 3, LYD: 3, OMR: 3, TND: 3, CLF: 4, UYW: 4,
};
export function money(amount, currency) {
  if (amount == null || !currency) return number(amount);
  const digits = minorDigits[currency] ?? 2;
  return (amount / 10 ** digits).toLocaleString('en', { style: 'currency', currency, minimumFractionDigits: digits, maximumFractionDigits: digits });
}

// Sends the token, if there is one.
async function ask(path, options = {}) {
  const headers = { ...options.headers };
  if (token) headers.Authorization = `Bearer ${token}`;
  const answer = await fetch(path, { ...options, headers });
  if (answer.status === 401 || answer.status === 403) {
    signIn(answer.status === 403 ? 'This token lacks a scope: admin and queries:read are needed.' : token ? 'This token is not taken.' : '');
    throw new Error('not signed in');
  }
  return answer;
}
async function problem(answer) {
  try { const body = await answer.json(); return body.detail || body.title; } catch { return `the answer was ${answer.status}`; }
}

function signIn(message) {
  token = null;
  sessionStorage.removeItem('token');
  $('content').hidden = true;
  $('sign-in').hidden = false;
  $('sign-in-problem').textContent = message;
  say('waiting', 'signed out');
  $('token').focus();
}
$('sign-in').addEventListener('submit', event => {
  event.preventDefault();
  token = $('token').value.trim();
  sessionStorage.setItem('token', token);
  $('token').value = '';
  $('sign-in').hidden = true;
  connect();
});

function say(state, text) {
  const element = $('state');
  if (element.textContent === text && element.dataset.state === state) return;
  element.dataset.state = state;
  element.textContent = text;
}

// Reads the stream: one line of JSON per second. Uses fetch, because EventSource cannot send a token.
async function connect() {
  connection?.abort();
  connection = new AbortController();
  const own = connection;
  try {
    await showLists();
    const answer = await ask('console/stream', { signal: own.signal });
    if (!answer.ok) throw new Error(await problem(answer));
    $('content').hidden = false;
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = '';
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      text += value;
      let end;
      while ((end = text.indexOf('\n\n')) >= 0) {
        const line = text.slice(0, end).split('\n').find(line => line.startsWith('data: '));
        text = text.slice(end + 2);
        if (line) show(JSON.parse(line.slice(6)));
      }
    }
    throw new Error('the stream ended');
  } catch (error) {
    if (own.signal.aborted || error.message === 'not signed in') return;
    say('lost', `connection lost: ${error.message}; trying again`);
    setTimeout(() => { if (connection === own) connect(); }, 1500);
  }
}

// A stream can stall without ending.
let heard = 0;
setInterval(() => {
  const age = (performance.now() - heard) / 1000;
  if (heard && !$('content').hidden && age > 5 && $('state').dataset.state !== 'lost') say('lost', `no news for ${Math.floor(age)} s`);
  else if (heard && $('state').textContent.startsWith('no news')) say('lost', `no news for ${Math.floor(age)} s`);
}, 1000);

function show(overview) {
  latest = overview;
  heard = performance.now();
  const troubles = overview.troubles;
  say(troubles.length ? 'trouble' : 'sound', troubles.length ? troubles.join(' · ') : 'all is well');
  $('position').textContent = overview.head == null ? 'the write store does not answer' : `${number(overview.head)} events`;
  for (const name of ['writes', 'reads']) {
    $(`${name}-now`).textContent = number(overview.rates[name]);
    chart($(name), overview.history[name]);
  }
  const { rejected, failed, waiting } = overview.rates;
  $('writes-detail').textContent = `${number(rejected)} rejected, ${number(failed)} failed a second; ${number(waiting)} under way`;
  $('reads-detail').textContent = `highest of the last two minutes: ${number(Math.max(0, ...overview.history.reads))}`;
  showGrid(overview);
  showRebuilds(overview.rebuilds);
  showParked(overview.parked, overview.parkedCount);
  showProcesses(overview.processes);
  if (!document.hidden) lists.forEach(list => list.show());
}

// One value per second, the newest at the right; null where there was no measurement.
function chart(svg, values) {
  const highest = Math.max(1, ...values), step = 600 / (values.length - 1);
  const runs = [];
  values.forEach((value, index) => {
    if (value == null) return;
    if (index === 0 || values[index - 1] == null) runs.push([]);
    runs.at(-1).push([(index * step).toFixed(1), (116 - value / highest * 110).toFixed(1)]);
  });
  const line = run => run.map(point => point.join(' ')).join('L');
  const draw = (name, path) => {
    let element = svg.querySelector(`.${name}`);
    if (!element) svg.append(element = Object.assign(document.createElementNS('http://www.w3.org/2000/svg', 'path'), {}));
    element.setAttribute('class', name);
    element.setAttribute('d', path);
  };
  draw('area', runs.map(run => `M${run[0][0]} 118L${line(run)}L${run.at(-1)[0]} 118Z`).join(''));
  draw('line', runs.map(run => `M${line(run)}`).join(''));
}

// Each generation's grid is made once and then updated in place, so that a focused cell keeps the focus.
function showGrid({ generations }) {
  const grid = $('grid');
  const keys = generations.map(generation => `${generation.projection} ${generation.generation}`);
  for (const row of [...grid.children]) if (!keys.includes(row.dataset.key)) row.remove();
  generations.forEach((generation, index) => {
    const key = keys[index];
    let row = [...grid.children].find(row => row.dataset.key === key);
    if (!row) {
      row = make('div', { class: 'generation', 'data-key': key }, make('div', {}, make('h3', {}), make('p', {})),
        make('ol', { class: 'cells', 'aria-label': `Partitions of ${generation.projection}` }, ...generation.assignments.map((_, partition) =>
          make('li', {}, make('button', {
            type: 'button', tabindex: partition ? '-1' : '0', onclick: () => choose(key, partition), onfocus: () => choose(key, partition),
          })))));
      row.addEventListener('keydown', event => {
        const cells = [...row.querySelectorAll('.cells button')], here = cells.indexOf(document.activeElement);
        const step = { ArrowRight: 1, ArrowLeft: -1, Home: -cells.length, End: cells.length }[event.key];
        if (here < 0 || !step) return;
        event.preventDefault();
        const next = cells[Math.min(Math.max(here + step, 0), cells.length - 1)];
        cells.forEach(cell => cell.tabIndex = -1);
        next.tabIndex = 0;
        next.focus();
      });
      grid.insertBefore(row, grid.children[index] ?? null);
    }
    row.querySelector('h3').textContent = generation.projection;
    const modes = Map.groupBy ? Map.groupBy(generation.assignments, mode) : new Map();
    const parts = [...modes].map(([name, assignments]) => `${assignments.length} ${name}`).join(', ');
    const lag = generation.assignments.reduce((most, assignment) => Math.max(most, assignment.lag ?? 0), 0);
    row.querySelector('p').textContent = `generation ${generation.generation} ${generation.state}: ${parts}${lag ? `; furthest ${number(lag)} behind` : ''}`;
    row.querySelectorAll('.cells button').forEach((cell, partition) => {
      const assignment = generation.assignments[partition], name = mode(assignment);
      if (cell.dataset.mode !== name) cell.dataset.mode = name;
      const label = `Partition ${partition}: ${name}${assignment.owner ? `, ${assignment.owner}` : ''}`;
      if (cell.getAttribute('aria-label') !== label) { cell.setAttribute('aria-label', label); cell.title = label; }
    });
  });
  describe();
}
function mode(assignment) {
  if (assignment.mode === 'halted' || assignment.mode === 'forked' || assignment.mode === 'done') return assignment.mode;
  if (!assignment.owner) return 'unowned';
  return assignment.mode === 'live' && assignment.lag > 1000 ? 'behind' : assignment.mode;
}
function choose(key, partition) { chosen = { key, partition }; describe(); }
function describe() {
  if (!chosen || !latest) return;
  const generation = latest.generations.find(one => `${one.projection} ${one.generation}` === chosen.key);
  const assignment = generation?.assignments[chosen.partition];
  if (!assignment) return;
  const text = `${generation.projection}, partition ${chosen.partition}: ${mode(assignment)}, ` +
    `${assignment.owner ? `run by ${assignment.owner}` : 'no owner'}, at ${number(assignment.position)}, ${number(assignment.lag ?? 0)} behind` +
    `${assignment.why ? `. ${assignment.why}` : ''}`;
  if ($('cell').textContent !== text) $('cell').textContent = text;
}

function showRebuilds(rebuilds) {
  $('rebuilds-section').hidden = !rebuilds.length;
  const list = $('rebuilds');
  for (const item of [...list.children]) if (!rebuilds.some(one => item.dataset.key === `${one.projection} ${one.generation}`)) item.remove();
  for (const one of rebuilds) {
    const key = `${one.projection} ${one.generation}`;
    let item = [...list.children].find(item => item.dataset.key === key);
    if (!item) list.append(item = make('li', { 'data-key': key }, make('label', {}), make('progress', { max: '1' })));
    item.querySelector('label').textContent = `${one.projection}, generation ${one.generation}, version ${one.version}: ${Math.floor(one.progress * 100)} %`;
    item.querySelector('progress').value = one.progress;
    item.querySelector('progress').setAttribute('aria-label', `Rebuild of ${one.projection}`);
  }
}

// On a phone, each cell shows its column's heading, and the CSS removes the table layout. The roles keep it a table for screen readers.
function tableRow(table, key, head, ...cells) {
  const heads = [...table.tHead.rows[0].cells].slice(1);
  return make('tr', { role: 'row', 'data-key': key }, make('th', { role: 'rowheader', scope: 'row' }, head),
    ...cells.map((cell, index) => make('td', { role: 'cell', 'data-head': heads[index].textContent }, cell)));
}

function showParked(parked, count) {
  $('parked-count').textContent = count;
  $('parked-count').className = count ? 'count bad' : 'count';
  $('parked-none').hidden = count > 0;
  $('parked').hidden = count === 0;
  const body = $('parked').tBodies[0];
  const keys = parked.map(one => `${one.projection} ${one.generation} ${one.stream}`);
  for (const row of [...body.rows]) if (!keys.includes(row.dataset.key)) row.remove();
  parked.forEach((one, index) => {
    let row = [...body.rows].find(row => row.dataset.key === keys[index]);
    if (!row) {
      row = tableRow($('parked'), keys[index], one.stream, one.projection, one.type, number(one.position), '', '',
        make('button', { type: 'button', 'aria-label': `Retry ${one.stream} in ${one.projection}`, onclick: () => retry(one) }, 'Retry'));
      body.append(row);
    }
    row.cells[4].textContent = one.error;
    row.cells[5].textContent = one.attempts;
    row.querySelector('button').disabled = one.request != null;
  });
}
async function retry(one) {
  try {
    const answer = await ask('console/parked/retry', {
      method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ projection: one.projection, stream: one.stream }),
    });
    $('parked-answer').textContent = answer.ok ? `${one.stream} is tried again.` : await problem(answer);
  } catch (error) { if (error.message !== 'not signed in') $('parked-answer').textContent = `${one.stream} could not be tried again: ${error.message}`; }
}

function showProcesses(processes) {
  const body = $('processes').tBodies[0];
  for (const row of [...body.rows]) if (!processes.some(one => one.address === row.dataset.key)) row.remove();
  processes.forEach((one, index) => {
    let row = [...body.rows].find(row => row.dataset.key === one.address);
    if (!row) {
      row = tableRow($('processes'), one.address, '', '', '', '', '', '');
      body.insertBefore(row, body.rows[index] ?? null);
    }
    const texts = [one.isUp ? 'up' : one.why || 'does not answer', one.doing || '',
      one.cpu == null ? '–' : `${Math.round(one.cpu * 100)} %`, size(one.memory), span(one.uptime)];
    if (row.cells[0].dataset.service !== (one.service ?? '')) {
      row.cells[0].dataset.service = one.service ?? '';
      row.cells[0].replaceChildren(make('span', { class: 'name' }, one.service ?? ''), ' ', make('small', { class: 'quiet' }, one.address));
    }
    texts.forEach((text, cell) => { if (row.cells[cell + 1].textContent !== text) row.cells[cell + 1].textContent = text; });
    row.cells[1].className = one.isUp ? '' : 'bad';
  });
}

// The formats of a row's text. `part` names the member.
const formats = {
  text: (row, part) => row[part.member] || (part.or ? row[part.or] : row[part.member]) || '',
  number: (row, part) => number(row[part.member]),
  money: (row, part) => money(row[part.member], row[part.currency]),
  time: (row, part) => row[part.member] ? new Date(row[part.member]).toLocaleString([], { dateStyle: 'short', timeStyle: 'short' }) : '–',
  each: (row, part) => (row[part.member] ?? []).map(element => text(element, part.element)).join(', ').slice(0, 80),
};
const text = (row, parts) => parts.map(part => typeof part === 'string' ? part : formats[part.as](row, part)).join('');

// Makes the sections of the application's lists, once.
async function showLists() {
  if (lists) return;
  const answer = await fetch('console/application.json');
  if (!answer.ok) throw new Error(await problem(answer));
  lists = (await answer.json()).newest.map((declared, index) => new List(declared, index));
  $('own').replaceChildren(...lists.map(list => list.element));
}

// The newest rows of one list, a search, and one row with its events.
class List {
  known = [];
  isAsking = false;

  constructor(declared, index) {
    this.declared = declared;
    this.items = make('ul', { class: 'entries newest' });
    this.one = make('div', { class: 'one', tabindex: '-1' });
    const newest = make('section', {}, make('h2', {}, declared.title), this.items);
    this.element = make('div', { class: 'two' }, newest);
    this.state = make('p', { class: 'found-state quiet', role: 'status' });
    this.found = make('ul', { class: 'entries found' });
    if (!declared.find) { newest.append(this.state, this.one); return; }
    const id = `query-${index}`;
    this.query = make('input', { id, class: 'query', type: 'search', autocomplete: 'off' });
    const form = make('form', { role: 'search', onsubmit: event => { event.preventDefault(); this.search(this.query.value.trim()); } },
      make('label', { for: id }, declared.find.label), make('div', { class: 'row' }, this.query, make('button', {}, 'Find')));
    this.element.append(make('section', {}, make('h2', {}, declared.find.title), form, this.state, this.found, this.one));
  }

  // Paths are relative to the page's, so that a proxy may serve all of it below another path.
  path(template, id) { return template.slice(1).replace(/\{[^}]*\}/, encodeURIComponent(id)); }
  rows(parameters) { return ask(`${this.path(this.declared.list)}?${parameters}`); }

  entry(row) {
    const [first, second, ...rest] = this.declared.columns.map(column => text(row, column));
    return make('li', {}, make('button', { type: 'button', onclick: () => this.open(row[this.declared.id]) },
      make('span', { class: 'id' }, first), make('span', {}, second ?? ''), ...rest.map(part => make('small', {}, part))));
  }

  async show() {
    if (this.isAsking) return;
    this.isAsking = true;
    try {
      const answer = await this.rows('limit=8');
      if (!answer.ok) return;
      const rows = (await answer.json()).items;
      const key = row => [row[this.declared.id], ...this.declared.columns.map(column => text(row, column))].join('\n');
      const keys = rows.map(key), before = new Set(this.known), isFirst = !this.known.length;
      if (rows.length && keys.join() === this.known.join()) return;
      this.known = keys;
      // Items that are already there stay, so that a focused item keeps the focus.
      const there = new Map([...this.items.children].map(item => [item.dataset.key, item]));
      const items = rows.map((row, index) => {
        if (there.has(keys[index])) return there.get(keys[index]);
        const item = this.entry(row);
        item.dataset.key = keys[index];
        if (!isFirst && !before.has(keys[index])) item.className = 'new';
        return item;
      });
      for (const item of [...this.items.children]) if (!items.includes(item) && !item.contains(document.activeElement)) item.remove();
      items.reverse().forEach(item => { if (!item.contains(document.activeElement)) this.items.prepend(item); });
      while (this.items.children.length > 9) this.items.lastElementChild.remove();
      if (!rows.length) this.items.replaceChildren(make('li', { class: 'quiet' }, this.declared.none));
    } catch { /* The state line says what is wrong with the connection. */ } finally { this.isAsking = false; }
  }

  async search(words) {
    this.found.replaceChildren();
    this.one.replaceChildren();
    if (!words) return;
    this.state.textContent = 'Looking…';
    try {
      const one = await ask(this.path(this.declared.row, words));
      if (one.ok) { this.state.textContent = ''; return this.open(words); }
      if (!this.declared.find.byText) { this.state.textContent = await problem(one); return; }
      const answer = await this.rows(`limit=10&q=${encodeURIComponent(words)}`);
      if (!answer.ok) { this.state.textContent = await problem(answer); return; }
      const rows = (await answer.json()).items;
      this.state.textContent = rows.length ? `${rows.length === 10 ? 'The newest 10' : rows.length} of those with “${words}”` : `Nothing was found for “${words}”.`;
      this.found.replaceChildren(...rows.map(row => this.entry(row)));
    } catch (error) { this.fail(error); }
  }

  async open(id) {
    try {
      const { row, history, heading } = this.declared;
      const [one, past] = await Promise.all([ask(this.path(row, id)), history ? ask(`${this.path(history, id)}?limit=100`) : null]);
      if (!one.ok || past && !past.ok) { this.state.textContent = await problem(one.ok ? past : one); return; }
      this.one.replaceChildren(make('h3', {}, text(await one.json(), heading)));
      if (past) this.one.append(timeline(id, (await past.json()).items));
      this.one.focus();
    } catch (error) { this.fail(error); }
  }

  fail(error) { if (error.message !== 'not signed in') this.state.textContent = error.message; }
}

const words = type => type.replace(/(?<=[a-z])(?=[A-Z])/g, ' ');
function timeline(id, events) {
  return make('ol', { class: 'timeline', 'aria-label': `Events of ${id}` }, ...events.map(event => make('li', {},
    make('strong', {}, words(event.type)), ' ', make('small', { class: 'quiet' },
      `version ${event.version} · ${new Date(event.at).toLocaleString()}${event.actor ? ` · ${event.actor}` : ''}${cause(event, events)}`),
    make('code', {}, JSON.stringify(event.data, null, 1).replace(/\n\s*/g, ' ')))));
}
// What led to an event, unless a client's request did. A reaction names the event that it followed. A deadline only has
// the request in common with the events before it.
export function cause({ causationId, correlationId, version }, events) {
  const [, reaction, id] = causationId?.match(/^reaction\/([^/]+)\/([0-9a-f-]{36})/) ?? [];
  const name = event => `${words(event.type)} (version ${event.version})`;
  if (reaction) {
    const event = events.find(event => event.id === id);
    return ` · because of ${event ? name(event) : 'an event of another stream'}, by reaction ${reaction}`;
  }
  if (!causationId?.startsWith('deadline/')) return '';
  const event = events.find(event => event.correlationId === correlationId && event.version < version);
  return ` · because a deadline passed${event ? `, set by the request of ${name(event)}` : ''}`;
}

document.addEventListener('visibilitychange', () => { if (!document.hidden && latest) lists.forEach(list => list.show()); });
connect();
