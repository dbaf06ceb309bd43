// Starts Swagger UI on the API's description.

const place = document.getElementById('swagger-ui');

SwaggerUIBundle({
  url: place.dataset.specification,
  domNode: place,
  deepLinking: true,
  presets: [SwaggerUIBundle.presets.apis],
  layout: 'BaseLayout',
});
