defmodule DSPex.Native.Adapter.ParseError do
  @moduledoc """
  A completion that does not hold the outputs. `kind` is

    * `:missing_fields` – output fields are not there; `parsed` names those that are
    * `:field_value` – the text of `field` does not fit its type; `problems` say why
    * `:not_an_object` – the JSON adapter found no JSON object
    * `:xml_syntax` – the completion is no well-formed XML
    * `:invalid_text` – the completion is not UTF-8
    * `:needs_python` – only Python's `json_repair` can say what this text means
  """

  defexception [:adapter, :kind, :field, :completion, expected: [], parsed: [], problems: []]

  @type kind :: :missing_fields | :field_value | :not_an_object | :xml_syntax | :invalid_text | :needs_python
  @type t :: %__MODULE__{
          adapter: :chat | :json | :xml,
          kind: kind,
          field: String.t() | nil,
          completion: String.t(),
          expected: [String.t()],
          parsed: [String.t()],
          problems: [{[String.t() | non_neg_integer], String.t()}]
        }

  @doc "Makes one; options: `:field`, `:parsed`, `:problems`."
  @spec new(:chat | :json | :xml, kind, DSPex.Signature.t(), String.t(), keyword) :: t
  def new(adapter, kind, signature, completion, options \\ []) do
    options = if options[:problems] == :unsure, do: Keyword.delete(options, :problems), else: options
    expected = Enum.map(signature.outputs, & &1.name)
    struct(%__MODULE__{adapter: adapter, kind: kind, completion: completion, expected: expected}, options)
  end

  @names %{chat: "ChatAdapter", json: "JSONAdapter", xml: "XMLAdapter"}

  @doc """
  The same error as the library's one exception, of reason `:lm_error`: the model's answer cannot be used. Its details
  have the `"code"`, `"adapter"` and `"fields"` that a worker's have, and the `"kind"` and `"field"` of this one.
  """
  @spec to_error(t) :: DSPex.Error.t()
  def to_error(%__MODULE__{} = error) do
    details = %{
      "code" => "adapter_parse_error",
      "adapter" => @names[error.adapter],
      "fields" => error.expected,
      "kind" => Atom.to_string(error.kind),
      "field" => error.field
    }

    DSPex.Error.new(:lm_error, message(error), details: details)
  end

  @impl Exception
  def message(%__MODULE__{} = error) do
    "the #{error.adapter} adapter cannot read the completion: #{reason(error)}; " <>
      "expected are the fields #{Enum.join(error.expected, ", ")}"
  end

  defp reason(%{kind: :missing_fields} = error), do: "fields are missing, found were [#{Enum.join(error.parsed, ", ")}]"
  defp reason(%{kind: :not_an_object}), do: "there is no JSON object in it"
  defp reason(%{kind: :xml_syntax}), do: "it is no well-formed XML"
  defp reason(%{kind: :invalid_text}), do: "it is not valid UTF-8"
  defp reason(%{kind: :needs_python}), do: "its JSON is broken, and only Python can repair it"

  defp reason(%{kind: :field_value} = error) do
    problems = Enum.map_join(error.problems, "; ", fn {path, text} -> Enum.join(path ++ [text], ": ") end)
    "the value of `#{error.field}` does not fit: #{problems}"
  end

  defimpl Inspect do
    # The completion may hold what must not be logged.
    def inspect(error, _options), do: "#DSPex.Native.Adapter.ParseError<#{error.adapter} #{error.kind} #{error.field}>"
  end
end
