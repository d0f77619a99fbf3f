defmodule DSPex.Event do
  @moduledoc """
  One event of a stream.

  | type | fields |
  |---|---|
  | `:token` | `field`, `text`, `last?`, and `predictor` in programs with several |
  | `:status` | `message` |
  | `:tool_start` | `tool`, `call_id`, `arguments` |
  | `:tool_end` | `tool`, `call_id`, `ok?`, `result` or `error` |
  | `:thought` | `text` |
  | `:done` | `prediction`; always the last one |
  """

  defstruct [
              :type,
              :seq,
              :field,
              :text,
              :predictor,
              :message,
              :tool,
              :call_id,
              :arguments,
              :result,
              :error,
              :prediction
            ] ++
              [last?: false, ok?: nil]

  @type t :: %__MODULE__{
          type: :token | :status | :tool_start | :tool_end | :thought | :done,
          seq: non_neg_integer | nil,
          field: String.t() | nil,
          text: String.t() | nil,
          predictor: String.t() | nil,
          message: String.t() | nil,
          tool: String.t() | nil,
          call_id: String.t() | nil,
          arguments: map | nil,
          result: term,
          error: String.t() | nil,
          prediction: DSPex.Prediction.t() | nil,
          last?: boolean,
          ok?: boolean | nil
        }

  @types %{
    "token" => :token,
    "status" => :status,
    "tool_start" => :tool_start,
    "tool_end" => :tool_end,
    "thought" => :thought
  }
  @copied [:seq, :field, :text, :predictor, :message, :tool, :call_id, :arguments, :result, :error]

  @doc """
  Reads an event as it came over the wire; `nil` for a type that this version does not know.

      iex> DSPex.Event.from_wire(%{"type" => "token", "field" => "answer", "text" => "Pa", "last" => false}).text
      "Pa"
      iex> DSPex.Event.from_wire(%{"type" => "of the future"})
      nil
  """
  @spec from_wire(map) :: t | nil
  def from_wire(%{"type" => type} = members) do
    case @types do
      %{^type => known} ->
        fields = for name <- @copied, into: %{}, do: {name, members[Atom.to_string(name)]}
        struct!(%__MODULE__{type: known, last?: members["last"] == true, ok?: members["ok"]}, fields)

      _types ->
        nil
    end
  end

  def from_wire(_members), do: nil
end
