defmodule DSPex.Native.Template do
  @moduledoc """
  A small template language that runs no code.

  | tag | gives |
  |---|---|
  | `{{name}}`, `{{a.b}}` | the value; text as it is, numbers and booleans as text, lists and maps as JSON, `nil` as nothing |
  | `{{.}}` | the item, within a section |
  | `{{name \\| default: "none"}}` | the text where the name is missing, `nil` or empty |
  | `{{name \\| json}}` | the value as JSON |
  | `{{#name}}…{{/name}}` | the inside, once for each item of a list, once for another value, not at all for `nil`, `false`, `""` and `[]` |
  | `{{^name}}…{{/name}}` | the inside when the section would give nothing, or the name is missing |
  | `{{! remark }}` | nothing |

  Within a section names are looked up in the item first, then outwards. Nothing is escaped: the output is for a prompt, not
  for a page. A value's text is never read as a template again.

      iex> DSPex.Native.Template.render("Answer {{question}}{{#hints}}\\n- {{.}}{{/hints}}", %{question: "why?", hints: ["a", "b"]})
      {:ok, "Answer why?\\n- a\\n- b"}

  Templates are at most 1 MiB, sections nest at most 32 deep, and the output is at most `max_bytes` (8 MiB unless set).
  """

  alias DSPex.Error
  alias DSPex.Native.Template.Parser
  alias DSPex.Native.Template.Renderer

  @enforce_keys [:nodes]
  defstruct [:nodes]

  @typedoc "A parsed template."
  @type t :: %__MODULE__{nodes: list}

  @doc """
  Parses a template once for many renderings. Errors are `:invalid_input` with the line and a caret under the place.

      iex> {:error, error} = DSPex.Native.Template.parse("Dear {{name}")
      iex> error.message
      "the template is malformed: {{ is not closed, in line 1\\n  Dear {{name}\\n       ^"
  """
  @spec parse(String.t()) :: {:ok, t} | {:error, Error.t()}
  def parse(text) when is_binary(text) do
    with {:ok, nodes} <- Parser.parse(text), do: {:ok, %__MODULE__{nodes: nodes}}
  end

  @doc """
  Renders a template, or the text of one. `values` is a map with text or atom keys, or a `DSPex.Ordered`.

  Options: `:max_bytes` of output. Errors: `:invalid_input` (malformed, a missing name, a value that has no text),
  `:limit_exceeded`.
  """
  @spec render(t | String.t(), map | DSPex.Ordered.t(), keyword) :: {:ok, String.t()} | {:error, Error.t()}
  def render(template, values, options \\ [])

  def render(text, values, options) when is_binary(text) do
    with {:ok, template} <- parse(text), do: render(template, values, options)
  end

  def render(%__MODULE__{nodes: nodes}, values, options), do: Renderer.render(nodes, values, options)

  @doc "As `render/3`; raises the error."
  @spec render!(t | String.t(), map | DSPex.Ordered.t(), keyword) :: String.t()
  def render!(template, values, options \\ []) do
    case render(template, values, options) do
      {:ok, text} -> text
      {:error, error} -> raise error
    end
  end

  @doc """
  Checks a template without values: gives the names that it cannot do without, sorted. Names within a section, names
  with a default and names of sections may be missing.

      iex> DSPex.Native.Template.validate("{{a.b}} {{c | default: \\"-\\"}} {{#d}}{{e}}{{/d}}")
      {:ok, ["a.b"]}
  """
  @spec validate(t | String.t()) :: {:ok, [String.t()]} | {:error, Error.t()}
  def validate(template), do: with({:ok, nodes} <- nodes(template), do: {:ok, required(nodes)})

  @doc """
  Checks a template against values: every name that is missing is told at once.

      iex> {:error, error} = DSPex.Native.Template.validate("{{a}} {{b}} {{c}}", %{b: 1})
      iex> error.details["missing"]
      ["a", "c"]
  """
  @spec validate(t | String.t(), map | DSPex.Ordered.t()) :: {:ok, [String.t()]} | {:error, Error.t()}
  def validate(template, values) do
    with {:ok, names} <- validate(template) do
      case Enum.reject(names, &Renderer.present?(&1, values)) do
        [] -> {:ok, names}
        missing -> {:error, missing(missing)}
      end
    end
  end

  defp nodes(%__MODULE__{nodes: nodes}), do: {:ok, nodes}
  defp nodes(text), do: Parser.parse(text)

  defp required(nodes) do
    names =
      for {:value, path, filters, _place} <- nodes,
          path != [],
          not Keyword.has_key?(filters, :default),
          do: Enum.join(path, ".")

    names |> Enum.uniq() |> Enum.sort()
  end

  defp missing(names) do
    Error.new(:invalid_input, "the template needs values for " <> Enum.join(names, ", "), details: %{"missing" => names})
  end
end
