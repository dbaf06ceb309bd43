// The dashboard's script: parts of pages that renew themselves, keys for reviewing.
// Every page works without it.

const RENEW_MS = 2000;

// A part with data-live fetches itself anew while the page is looked at, and rests when its job has ended.
async function renew(part) {
  if (document.hidden || part.contains(document.activeElement)) return;
  const answer = await fetch(part.dataset.live, { credentials: 'same-origin' });
  if (answer.ok && !answer.redirected) part.innerHTML = await answer.text();
}

for (const part of document.querySelectorAll('[data-live]')) {
  const timer = setInterval(() => {
    if (part.querySelector('[data-ended]')) clearInterval(timer);
    else renew(part).catch(() => {}); // the server is away for a moment: the next renewal tells
  }, RENEW_MS);
}

// Keys press what carries them, unless somebody is writing.
document.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches('textarea, select, input[type=text], input:not([type])')) return;
  const pressed = document.querySelector(`[data-key="${CSS.escape(event.key)}"]:not([disabled])`);
  if (pressed) {
    event.preventDefault();
    pressed.click();
  }
});
