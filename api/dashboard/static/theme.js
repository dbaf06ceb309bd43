// Light or dark, as the system wants it. Loaded before the page is painted, so that it never flashes.

const dark = window.matchMedia('(prefers-color-scheme: dark)');
const followTheme = () => {
  document.documentElement.dataset.bsTheme = dark.matches ? 'dark' : 'light';
};
dark.addEventListener('change', followTheme);
followTheme();
