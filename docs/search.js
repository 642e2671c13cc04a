// A flag is searched for as it is typed: to the search of the site, a dash before a word means "without it".
addEventListener("input", event => {
  const field = event.target;
  if (!field.classList.contains("md-search__input")) return;
  const plain = field.value.replace(/(^|\s)-+/g, "$1");
  if (plain !== field.value) field.value = plain;
}, true);
