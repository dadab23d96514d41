// One call with the npm package neto-api: node neto_api.js OPTIONS METHOD ARGUMENT [SELECTORS], each as JSON.
const { NetoAPI } = require("neto-api");

const [options, method, argument, selectors] = process.argv.slice(2).map(text => JSON.parse(text));
const call = new NetoAPI(options).customer[method](argument);
(selectors ? call.output(selectors) : call)
  .exec()
  .then(resolved => ({ resolved }), rejected => ({ rejected }))
  .then(ended => console.log(JSON.stringify(ended)));
