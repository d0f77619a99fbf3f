defmodule DSPex.Demo.Library do
  @moduledoc "The demo's documents and the questions about them, from `examples/`."

  alias DSPex.Error
  alias DSPex.Wire.Json

  @enforce_keys [:documents, :questions]
  defstruct [:documents, :questions]

  @type question :: %{question: String.t(), document: String.t(), expect: String.t() | nil}
  @type t :: %__MODULE__{documents: %{String.t() => String.t()}, questions: [question(), ...]}

  @doc """
  Reads `documents/*.md` and `questions.json` of the folder.

  The error is an `:invalid_input` that names the file and what is wrong with it.
  """
  @spec read(Path.t()) :: {:ok, t()} | {:error, Error.t()}
  def read(folder) do
    documents = Map.new(Path.wildcard(Path.join(folder, "documents/*.md")), &{Path.basename(&1), File.read!(&1)})
    path = Path.join(folder, "questions.json")

    with {:ok, questions} <- read_questions(path),
         :ok <- check(questions, documents, path) do
      {:ok, %__MODULE__{documents: documents, questions: Enum.map(questions, &question/1)}}
    end
  end

  @doc "The text of the document that a question is about."
  @spec document(t(), question()) :: String.t()
  def document(%__MODULE__{documents: documents}, %{document: name}), do: Map.fetch!(documents, name)

  defp read_questions(path) do
    with {:ok, text} <- File.read(path),
         {:ok, questions} when is_list(questions) and questions != [] <- Json.decode(text) do
      {:ok, questions}
    else
      {:error, %Error{message: message}} -> invalid(path, message)
      {:error, reason} -> invalid(path, to_string(:file.format_error(reason)))
      {:ok, _other} -> invalid(path, "it is not a list of questions")
    end
  end

  defp check(questions, documents, path) do
    Enum.reduce_while(questions, :ok, fn
      %{"question" => question, "document" => name}, :ok when is_binary(question) and is_map_key(documents, name) ->
        {:cont, :ok}

      %{"question" => question, "document" => name}, :ok when is_binary(question) ->
        {:halt, invalid(path, "the document #{inspect(name)} is not in documents/")}

      other, :ok ->
        {:halt, invalid(path, "#{inspect(other)} has no text `question` or no `document`")}
    end)
  end

  defp question(%{"question" => question, "document" => name} = entry),
    do: %{question: question, document: name, expect: entry["expect"]}

  defp invalid(path, problem), do: {:error, Error.new(:invalid_input, "#{path} can't be used: #{problem}")}
end
