'use strict';
(() => {
  const root = document.documentElement;
  root.classList.add('js');

  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const el = (tag, className, ...children) => {
    const element = document.createElement(tag);
    if (className) element.className = className;
    element.append(...children);
    return element;
  };

  // Logs and transcripts, read when the first module is opened.
  let read;
  const data = () => (read ??= JSON.parse(document.getElementById('data').textContent));

  const CLASS = ['passed', 'skipped', 'warning', 'failed'];
  const SEVERITY = ['info', 'warning', 'failure'];
  const clauseAnchors = new Map(all('table.clauses tbody th a').map((a) => [a.textContent, a.hash]));

  const cites = (names) => {
    const list = el('span', 'cites');
    names.forEach((name, at) => {
      if (at) list.append(', ');
      const hash = clauseAnchors.get(name);
      if (hash) {
        const link = el('a', '', name);
        link.href = hash;
        list.append(link);
      } else list.append(name);
    });
    return list;
  };
  const clauseList = (names) => {
    if (names.length <= 3) return cites(names);
    const more = names.slice(3);
    return el('div', '', cites(names.slice(0, 3)),
      el('details', 'list', el('summary', '', more.length + ' more'), cites(more)));
  };

  const headRow = (...names) => {
    const row = el('tr');
    for (const name of names) {
      const cell = el('th', '', name);
      cell.scope = 'col';
      row.append(cell);
    }
    return el('thead', '', row);
  };

  const logTable = (lines, s) => {
    const body = el('tbody');
    for (const [at, source, check, state, severity, clauses, message] of lines) {
      // What it would have meant says nothing of a condition that held.
      const held = state ? 'no: ' + SEVERITY[severity] : 'held';
      body.append(el('tr', CLASS[state],
        el('td', 'num', String(at)),
        el('td', '', s[source]),
        el('td', '', el('code', '', s[check])),
        el('td', '', el('span', 'word ' + CLASS[state], held)),
        el('td', '', s[message]),
        el('td', '', clauseList(clauses.map((clause) => s[clause])))));
    }
    return el('table', 'log', headRow('ms', 'Source', 'Check', 'Held', 'Message', 'Clauses'), body);
  };

  // JSON on lines of its own, every other character as it was sent: nothing is read and written
  // again, so a member that is there twice stays there twice.
  const indented = (text) => {
    if (!/^\s*[[{]/.test(text)) return text;
    try { JSON.parse(text); } catch { return text; }
    let depth = 0;
    const line = () => '\n' + '  '.repeat(depth);
    return text.replace(/"(?:[^"\\]|\\.)*"|[[{]\s*[\]}]|[[\]{},:]|\s+/g, (token) => {
      if (/^\s/.test(token)) return '';
      if (token === '{' || token === '[') { depth += 1; return token + line(); }
      if (token === '}' || token === ']') { depth -= 1; return line() + token; }
      if (token === ',') return token + line();
      return token === ':' ? ': ' : token;
    });
  };

  const half = (title, headers, body, s) => {
    const lines = el('pre');
    lines.tabIndex = 0;
    for (let at = 0; at < headers.length; at += 2) {
      lines.append(el('span', 'name', s[headers[at]] + ':'), ' ' + s[headers[at + 1]] + '\n');
    }
    if (s[body]) lines.append((headers.length ? '\n' : '') + indented(s[body]));
    if (!lines.hasChildNodes()) lines.append(el('span', 'quiet', 'nothing recorded'));
    lines.setAttribute('role', 'group');
    lines.setAttribute('aria-label', title);
    return el('div', '', el('h5', '', title), lines);
  };

  const exchange = ([at, from, to, method, url, status, requestHeaders, requestBody, headers, body], s) => {
    const answer = status === 0 ? 'no answer' : String(status);
    const summary = el('summary', '',
      el('span', 'num', at + ' ms'),
      el('span', 'who', s[from] + ' → ' + s[to]),
      el('code', 'call', el('b', '', s[method]), ' ' + s[url]),
      el('span', status === 0 || status >= 400 ? 'status bad' : 'status', answer));
    const details = el('details', 'exchange', summary);
    details.addEventListener('toggle', () => {
      if (details.open && details.children.length === 1) {
        details.append(el('div', 'halves',
          half('Request', requestHeaders, requestBody, s), half('Answer', headers, body, s)));
      }
    });
    return details;
  };

  const draw = (record) => {
    const { s, m } = data();
    const { l: log, t: transcript } = m[Number(record.dataset.module)];
    record.replaceChildren();
    if (log.length) record.append(el('h4', '', 'Condition log (' + log.length + ')'), logTable(log, s));
    if (transcript.length) {
      record.append(el('h4', '', 'Transcript (' + transcript.length + ')'),
        ...transcript.map((one) => exchange(one, s)));
    }
    record.classList.add('drawn');
  };

  // Modules: each row gets a button that opens the details below it.
  const modules = all('tbody.module').map((body) => {
    const more = body.querySelector('tr.more');
    const details = more.querySelector('details');
    const id = body.querySelector('a.id');
    const button = el('button', 'toggle');
    button.type = 'button';
    button.setAttribute('aria-label', 'Details of ' + id.textContent);
    details.id = body.id + '.more';
    button.setAttribute('aria-controls', details.id);
    const update = () => {
      more.hidden = !details.open;
      body.classList.toggle('open', details.open);
      button.setAttribute('aria-expanded', String(details.open));
    };
    const set = (open) => {
      const record = details.querySelector('.record:not(.drawn)');
      if (open && record) draw(record);
      details.open = open;
      update();
    };
    button.addEventListener('click', () => set(!details.open));
    body.rows[0].addEventListener('click', (event) => {
      if (!event.target.closest('a, button') && getSelection().isCollapsed) set(!details.open);
    });
    id.before(button);
    update();
    return {
      body, set,
      text: body.textContent.toLowerCase(),
      verdict: body.dataset.verdict,
      plan: body.closest('details.plan'),
    };
  });

  const words = (form) => form.elements.text.value.toLowerCase().split(/\s+/).filter(Boolean);
  const counted = (count, noun) => count + ' ' + noun + (count === 1 ? '' : 's');
  const delayed = (act) => {
    let timer;
    return () => {
      clearTimeout(timer);
      timer = setTimeout(act, 80);
    };
  };
  // What is filtered stands in the address, so that it can be sent: `#?verdict=failed&clause.state=…`.
  const filters = [];
  const remember = () => {
    const query = new URLSearchParams();
    for (const { form, prefix } of filters) {
      for (const [name, value] of new FormData(form)) if (value) query.append(prefix + name, value);
    }
    const text = query.toString();
    if (text || location.hash.startsWith('#?')) {
      try { history.replaceState(null, '', text ? '#?' + text : '#'); } catch { /* a page without an address */ }
    }
  };
  const recall = () => {
    const query = new URLSearchParams(location.hash.slice(2));
    let changed;
    for (const { form, prefix, apply } of filters) {
      form.reset();
      for (const field of form.elements) {
        const values = field.name ? query.getAll(prefix + field.name) : [];
        if (!values.length) continue;
        if (field.type === 'checkbox') field.checked = values.includes(field.value);
        else field.value = values[0];
        changed ??= form;
      }
      apply();
    }
    changed?.scrollIntoView();
  };
  const watch = (form, prefix, apply) => {
    form.hidden = false;
    filters.push({ form, prefix, apply });
    const changed = () => { apply(); remember(); };
    form.addEventListener('input', delayed(changed));
    form.addEventListener('submit', (event) => event.preventDefault());
    form.addEventListener('reset', (event) => { if (event.isTrusted) setTimeout(changed); });
    apply();
  };
  const said = (active, count, total, noun) => {
    if (!active) return counted(total, noun);
    return count ? 'Filtered: ' + count + ' of ' + counted(total, noun) + ' shown' : 'No ' + noun + ' matches';
  };

  const moduleFilter = document.getElementById('module-filter');
  const filterModules = () => {
    const verdicts = all('input:checked', moduleFilter).map((input) => input.value);
    const plan = moduleFilter.elements.plan.value;
    const wanted = words(moduleFilter);
    const active = verdicts.length || plan || wanted.length;
    const shown = new Map();
    let count = 0;
    for (const module of modules) {
      const match = (!verdicts.length || verdicts.includes(module.verdict))
        && (!plan || module.plan.id === plan)
        && wanted.every((word) => module.text.includes(word));
      module.body.hidden = !match;
      shown.set(module.plan, (shown.get(module.plan) ?? 0) + Number(match));
      count += Number(match);
    }
    for (const [element, matches] of shown) {
      element.hidden = !matches;
      if (active && matches) element.open = true;
    }
    moduleFilter.querySelector('.shown').textContent = said(active, count, modules.length, 'module');
  };
  // Drawing hundreds of logs at once would stop the browser.
  const MOST = 60;
  moduleFilter.elements.expand.addEventListener('click', () => {
    const visible = modules.filter((module) => !module.body.hidden && module.plan.open);
    for (const module of visible.slice(0, MOST)) module.set(true);
    if (visible.length > MOST) {
      moduleFilter.querySelector('.shown').textContent =
        'Expanded the first ' + MOST + ' of ' + visible.length + ' modules shown; filter to see others';
    }
  });
  moduleFilter.elements.collapse.addEventListener('click', () => {
    for (const module of modules) module.set(false);
  });
  watch(moduleFilter, '', filterModules);

  const clauseFilter = document.getElementById('clause-filter');
  if (clauseFilter) {
    const rows = all('table.clauses > tbody > tr').map((row) => ({
      row, text: row.textContent.toLowerCase(), table: row.closest('details.plan'),
    }));
    watch(clauseFilter, 'clause.', () => {
      const { state, section, level } = clauseFilter.elements;
      const wanted = words(clauseFilter);
      const active = state.value || section.value || level.value || wanted.length;
      const shown = new Map();
      let count = 0;
      for (const { row, text, table } of rows) {
        const match = [state, section, level].every((field) => !field.value || row.dataset[field.name] === field.value)
          && wanted.every((word) => text.includes(word));
        row.hidden = !match;
        shown.set(table, (shown.get(table) ?? 0) + Number(match));
        count += Number(match);
      }
      for (const [element, matches] of shown) {
        element.hidden = !matches;
        if (active && matches) element.open = true;
      }
      clauseFilter.querySelector('.shown').textContent = said(active, count, rows.length, 'clause');
    });
  }

  // A link to a module or clause opens it, whatever the filters say.
  const follow = () => {
    if (location.hash.startsWith('#?')) {
      recall();
      return;
    }
    let id;
    try { id = decodeURIComponent(location.hash.slice(1)); } catch { return; }
    const target = id && document.getElementById(id);
    if (!target) return;
    const form = target.closest('section')?.querySelector('form.filter');
    if (form && target.closest('[hidden]')) {
      form.reset();
      filters.find((filter) => filter.form === form)?.apply();
    }
    setTimeout(() => {
      for (let up = target; up; up = up.parentElement) if (up.tagName === 'DETAILS') up.open = true;
      modules.find((module) => module.body === target)?.set(true);
      target.scrollIntoView();
    });
  };
  addEventListener('hashchange', follow);
  follow();

  // Printed are the tables in whole; logs and transcripts where they are open.
  let closed = [];
  addEventListener('beforeprint', () => {
    closed = all(':is(details.plan, details.list, footer details):not([open])');
    for (const details of closed) details.open = true;
  });
  addEventListener('afterprint', () => {
    for (const details of closed) details.open = false;
  });
})();
